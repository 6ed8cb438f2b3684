from PIL import Image


def pictures(row):
    return [Image.open(row["picture"]).convert("RGB")]


def question(row, kwargs=None):
    return row["question"]
