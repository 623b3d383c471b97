"""Serving: the model behind OpenAI's HTTP API. Decides what may come in from outside, and what of it is told back.

app        the routes, put together          limits     every number that bounds a request
guard      Host, Origin, keys, bodies        errors     every code and text that a client can see
body       strict JSON, forms in memory      schema     requests; `replies`: answers
gate       media: data URI -> decoded part   fetch      remote media, where it is allowed
decoding   a bounded pool of `decoder`s, processes of their own
types      what the routes need of an engine; `single`: the simplest one
"""
