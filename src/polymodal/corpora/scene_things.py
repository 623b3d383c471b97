"""What sticker scenes show. Decides the vocabulary: things a person names at a glance, all of concepts that may be
trained on.

Names are emojibase's labels with shorter words where those say the same ("lady beetle" -> "ladybug"). Left out by
eye: faces and people, signs and symbols, two drawings that look alike at 64 pixels (of moons, trains, books), things
drawn in pairs ("glasses") or without a plural ("bread"), and whatever the photographs of `photos12` show. The words
to read are those of the spoken sentences, so that a word is met in more than one modality.
"""

from __future__ import annotations

import re

from polymodal.corpora.sentence_words import SLOTS, UNSEEN

_THINGS = """
monkey, wolf, raccoon, cat, moose, unicorn, water buffalo = buffalo, llama, mammoth, hamster, hedgehog, bat, panda,
sloth, skunk, kangaroo, baby chick = chick, eagle, swan, dodo, crocodile, turtle, lizard, blowfish, shark, octopus,
jellyfish, crab, shrimp, squid, snail, butterfly, ant, honeybee = bee, lady beetle = ladybug, beetle, spider,
mosquito, worm, bouquet, rose, tulip, potted plant, cactus, four leaf clover = clover, maple leaf, watermelon, lemon,
peach, tomato, coconut, eggplant, potato, cucumber, croissant, pretzel, bagel, waffle, hamburger, hot dog, sandwich,
taco, burrito, doughnut = donut, cupcake, pie, lollipop, soft ice cream = ice cream cone, teapot, wine glass,
beer mug, baby bottle, spoon, kitchen knife = knife, ambulance, police car, taxi, tractor, motorcycle, bicycle,
skateboard, roller skate, fuel pump = gas pump, stop sign, speedboat, ship, helicopter, rocket, parachute, satellite,
crescent moon = moon, sun, cloud, rainbow, umbrella, snowflake, snowman without snow = snowman, tornado, thermometer,
Christmas tree, balloon, wrapped gift = gift, trophy, soccer ball, baseball, basketball, volleyball,
american football = football, boxing glove, ice skate, bullseye = target, kite, crystal ball, magic wand,
puzzle piece, door, window, bed, chair, toilet, bathtub, razor, broom, basket, toothbrush, shopping cart, mirror,
plunger, telephone, desktop computer = computer, printer, keyboard, battery, floppy disk, television, camera, candle,
light bulb, red paper lantern = lantern, newspaper, scroll, coin, money bag, credit card, envelope, package = box,
postbox = mailbox, pen, paintbrush, crayon, clipboard, pushpin, paperclip, straight ruler = ruler,
wastebasket = trash can, key, axe, dagger, bomb, boomerang, shield, screwdriver, gear, magnet, test tube, telescope,
syringe, pill, necktie = tie, t-shirt, scarf, coat, dress, purse, crown, billed cap = cap, lipstick, ring, saxophone,
accordion, banjo, flute, coffin
"""

SHAPES = ("circle", "square", "triangle", "star", "heart")
COLORS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (245, 210, 30),
    "green": (40, 160, 70),
    "blue": (40, 90, 220),
    "purple": (130, 60, 180),
    "pink": (245, 120, 180),
    "black": (25, 25, 25),
}
BACKGROUNDS = {
    "white": (254, 254, 254),
    "gray": (185, 185, 185),
    "orange": (252, 208, 160),
    "yellow": (252, 240, 165),
    "green": (190, 230, 185),
    "blue": (180, 212, 250),
    "purple": (216, 198, 242),
    "pink": (250, 205, 222),
}
INKS = ("red", "green", "blue", "purple", "black")  # that can be read on every background


def _words(slots: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    found = {word for words in slots.values() for word in words if re.fullmatch(r"[a-z]{3,6}", word)}
    return tuple(sorted(found))


THINGS = {  # name -> emojibase's label, both of concepts of the split `train`
    (name or label): label
    for label, _, name in (map(str.strip, entry.partition("=")) for entry in " ".join(_THINGS.split()).split(","))
}
WORDS = _words(SLOTS)
UNSEEN_WORDS = tuple(word for word in _words(UNSEEN) if word not in WORDS)  # never written in training
