"""OpenAI's batches: each line of a file becomes a job, each answer a line of the output.

In: a file's lines. Out: output and error files. Imports `api.admission` and all below, and `shared`.
"""
