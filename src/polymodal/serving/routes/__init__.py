"""The routes, one module each. `app.create` puts them together; a test holds the list of them."""
