import sys

from bespokelabs import curator


class Question(curator.LLM):
    def prompt(self, row):
        return row["question"]

    def parse(self, row, answer):
        return {"answer": answer}


options = {"base_url": f"{sys.argv[1]}/v1", "max_requests_per_minute": 600, "max_tokens_per_minute": 10**6}
asker = Question(model_name="openai/test/echo", backend="litellm", backend_params=options)
rows = asker([{"question": f"number {number}"} for number in range(3)])
print(list(getattr(rows, "dataset", rows)["answer"]))
