"""Our models inside other people's programs. Decides that nothing here is imported by polymodal itself: each module is read
by the program it is made for, which brings the classes that ours have to be.
"""
