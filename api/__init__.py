"""The front end: takes requests over HTTP and answers them.

In: requests in the formats of OpenAI, Hugging Face and our own jobs API. Out: answers, streams, and jobs
in the record store. Imports `shared`, never `worker`.
"""
