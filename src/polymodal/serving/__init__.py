"""Serving: the model behind OpenAI's HTTP API. Decides what may come in from outside, and what of it is told back.

app        the routes, put together          limits     every number that bounds a request
guard      Host, Origin, keys, bodies        errors     every code and text that a client can see
body       strict JSON, forms in memory      schema     requests; `conversation`: of the library
gate       media: data URI -> decoded part   fetch      remote media, where it is allowed
decoding   a bounded pool of `media.decoder`s, processes of their own
answers    waiting for a model while a client may leave
types      what the routes need of an engine; `single`: the simplest one
"""
