"""The survey's five components, one room each: encoders, input projectors, backbones (output projectors and generators
are to come). Concrete parts are looked up in plain tables of dotted paths and imported only when a recipe names them."""
