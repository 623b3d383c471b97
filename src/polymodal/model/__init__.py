"""The composition: recipe, sequence, processor, model, generation, checkpoint. Read them in that order."""
