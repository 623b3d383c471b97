"""The words and sentence patterns of the corpus `sentences`. Decides what can be said: everyday things, many of which
the emoji and stamps show too, in 5 to 9 words.

A slot such as {animal} takes a word of that list; {animal2} takes another one; {animals} takes a plural. `UNSEEN` holds
words for the same slots that occur in no training sentence, neither as singular nor as plural.
"""

from __future__ import annotations

PATTERNS = """
The {colour} {animal} {moved} {place}.
The {size} {animal} {moved} {place} {when}.
{name} {handled} a {size} {thing} {place}.
{name} {handled} the {colour} {thing} {when}.
There are {number} {animals} {place}.
The {person} has a {size} {colour} {thing}.
My {person} {ate} a {food} {when}.
Our {person} {ate} {number} {foods} {when}.
A {mood} {person} {moved} {place}.
Please give me the {size} {colour} {thing}.
Where is the {size} {colour} {thing}?
I can see {number} {colour} {things}.
The {colour} {vehicle} is waiting {place}.
{name} drove a {colour} {vehicle} {when}.
We drank some {drink} {place} {when}.
The {thing} is under the {size} {furniture}.
Do you want a {food} or a {food2}?
The {animal} is {compared} than the {animal2}.
It was very {weather} {place} {when}.
How many {things} are in the {container}?
{name} and {name2} live {place}.
She put the {colour} {thing} behind the {furniture}.
Can you hear the {size} {animal} {place}?
I like the {thing} on the {colour} {furniture}.
The {animal} and the {animal2} are friends.
{number} {persons} {moved} {place} {when}.
Look at the {number} {animals} {place}.
The {person} works {place} {when}.
The {size} {vehicle} stopped {place} {when}.
{name} wants to buy {number} {foods}.
The {colour} {thing} belongs to my {person}.
This {thing} is {colour} and that one is {colour2}.
The {mood} {person} opened the {container} {when}.
I lost my {colour} {thing} {place}.
The {person} {met} a {mood} {animal} {place}.
{name} {met} the {size} {animal} {when}.
We need a {thing} and some {drink}.
Is the {vehicle} {compared} than the {vehicle2}?
They found {number} {things} in the {container}.
The {person} was {mood} {when}.
Where is my {colour} {thing}?
The {animal} is very {mood}.
The {person} likes {colour} {things}.
The {persons} {moved} {place}.
The {persons} and the {persons2} were {mood}.
We saw {number} {animals} {place}.
{name} has {number} {colour} {things}.
The {things} are in the {container}.
""".strip().splitlines()

SLOTS: dict[str, tuple[str, ...]] = {
    slot: tuple(words.split(", "))
    for slot, words in {
        "animal": "cat, dog, horse, bird, cow, duck, fish, frog, pig, sheep, goat, lion, tiger, bear, monkey, mouse, "
        "rabbit, fox, snake, chicken, penguin, whale, elephant, spider, bee, butterfly, turtle, owl, wolf, camel",
        "person": "boy, girl, man, woman, teacher, doctor, farmer, baby, nurse, king, queen, sister, brother, mother, "
        "father, friend, uncle, child, driver, neighbor",
        "name": "Anna, Tom, Maria, Ben, Lucy, Sam, Emma, Jack, Peter, Nina, David, Sarah",
        "thing": "ball, book, cup, hat, key, lamp, clock, pen, pencil, shoe, coat, shirt, spoon, plate, bottle, "
        "umbrella, phone, camera, guitar, drum, kite, hammer, candle, gift, letter, map, ring, flower, leaf, star, "
        "flag, brush, knife, picture, blanket, toy, bell, glove, scarf, stone",
        "food": "apple, banana, egg, orange, cookie, sandwich, pear, potato, tomato, carrot, cherry, lemon, cake, "
        "pizza, peach, strawberry",
        "drink": "milk, water, tea, coffee, juice, lemonade",
        "vehicle": "car, bus, train, truck, boat, ship, plane, bicycle, taxi, rocket, tractor",
        "furniture": "table, chair, bed, door, shelf, sofa, desk",
        "container": "box, bag, basket, drawer, bucket",
        "colour": "red, blue, green, yellow, black, white, brown, pink, purple, gray",
        "size": "big, small, little, old, new, heavy, tiny, large, beautiful, strange",
        "mood": "happy, sad, tired, hungry, sleepy, angry, quiet, young",
        "moved": "ran, walked, jumped, slept, waited, rested, played, danced, sat, stood",
        "handled": "saw, found, bought, wanted, lost, took, carried, dropped, painted, liked, cleaned, sold",
        "met": "watched, followed, chased, fed, heard, helped, visited",
        "ate": "ate, wanted, bought, shared, cooked",
        "compared": "bigger, smaller, faster, slower, older, louder",
        "number": "two, three, four, five, six, seven, eight, nine, ten, twelve, twenty",
        "weather": "sunny, cold, warm, windy, cloudy, dark, hot, wet",
        "place": "in the garden, at the beach, near the river, behind the house, on the hill, in the kitchen, "
        "by the lake, in the forest, at school, on the bridge, near the station, in the park, across the street, "
        "in the snow, on the grass, on the farm, at the market, in the city, near the mountain, at the hospital",
        "when": "today, tonight, this morning, every day, last night, yesterday, on Monday, on Friday, on Sunday, "
        "in the evening, after lunch, before dinner, in summer, in winter, this week",
    }.items()
}

UNSEEN: dict[str, tuple[str, ...]] = {
    slot: tuple(words.split(", "))
    for slot, words in {
        "animal": "giraffe, zebra, dolphin, parrot, squirrel, kangaroo, lobster, eagle, donkey, shark",
        "person": "pilot, artist, singer, soldier, dentist, lawyer",
        "thing": "ladder, violin, mirror, helmet, balloon, pillow, trumpet, envelope, magnet, compass, necklace, razor",
        "food": "mango, onion, muffin, pineapple, pumpkin, mushroom, avocado, pancake",
        "vehicle": "helicopter, ambulance, tram, canoe, scooter",
        "furniture": "cupboard, bench, mattress",
        "container": "suitcase, barrel",
        "colour": "silver, golden, violet",
        "place": "in the desert, at the museum, near the castle, on the island, in the cave, by the airport",
    }.items()
}

PLURALS = {
    **{word: word for word in ("fish", "sheep")},
    **{"mouse": "mice", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "man": "men", "woman": "women"},
    **{"child": "children", "baby": "babies", "box": "boxes", "bus": "buses", "brush": "brushes", "fox": "foxes"},
    **{"sandwich": "sandwiches", "peach": "peaches", "cherry": "cherries", "strawberry": "strawberries"},
    **{"butterfly": "butterflies", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "toy": "toys"},
    **{"compass": "compasses"},
}
