"""Many threads that create, read, change and delete over a bad network, and what must have come of it."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cruds.demo.api import DemoAPI
from cruds_core import Client, ClientError, CrudsError, RequestError, ServerError

THREADS = 16


@dataclass
class Object:
    """An object that was created, and what it may hold: a change without an answer may come late."""

    number: int
    name: str
    confirmed: int = 0
    possible: set[int] = field(default_factory=set[int])
    deleted: bool = False  # or it may be


@dataclass
class Record:
    """What all threads did.

    Attributes:
        created: Names of which a create was confirmed.
        unsure: Names of which a create ended in an error.
        objects: All whose number is known.
        done: How many operations there were, by kind.
        errors: How many of them ended in an error, by its class.
        wrong: What must not be.
    """

    created: set[str] = field(default_factory=set[str])
    unsure: set[str] = field(default_factory=set[str])
    objects: list[Object] = field(default_factory=list[Object])
    done: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])


class Worker:
    """One thread, with objects of its own.

    Args:
        client: The Client of all.
        number: Which thread it is.
        record: What all threads did.
    """

    def __init__(self, client: Client, number: int, record: Record) -> None:
        self.client = client
        self.number = number
        self.record = record
        self.random = random.Random(number)
        self.living: list[Object] = []
        self.count = 0

    def run(self, operations: int) -> None:
        """Do so many operations."""
        kinds: list[Callable[[], None]] = [self.read, self.change, self.replace, self.delete]
        for self.count in range(operations):
            kind = self.random.choices([self.create, *kinds], [30, 35, 15, 15, 5])[0]
            if not self.living:
                kind = self.create
            self.record.done[kind.__name__] += 1
            try:
                kind()
            except (RequestError, ServerError) as error:
                self.record.errors[type(error).__name__] += 1
            except Exception as error:
                self.record.wrong.append(f"{kind.__name__}: {error!r}")

    def create(self) -> None:
        """Create an object of a name that no other has."""
        name = f"{self.number}-{self.count}"
        try:
            made = self.client.create("items", {"name": name, "value": 0})
        except (RequestError, ServerError):
            self.record.unsure.add(name)
            raise
        self.record.created.add(name)
        made = Object(made["id"], name)
        self.living.append(made)
        self.record.objects.append(made)

    def read(self) -> None:
        """Read an object, which must hold what was written last, or what had no answer."""
        chosen = self.random.choice(self.living)
        value = self.client.read(f"items/{chosen.number}")["value"]
        if value not in chosen.possible | {chosen.confirmed}:
            self.record.wrong.append(f"{chosen} has {value}")

    def change(self) -> None:
        """Change an object: a PATCH."""
        self.write({"value": self.count})

    def replace(self) -> None:
        """Replace an object: a PUT."""
        self.write({"value": self.count}, replace=True)

    def write(self, data: dict[str, Any], *, replace: bool = False) -> None:
        """Write to an object, and keep what is known of it since."""
        chosen = self.random.choice(self.living)
        try:
            answer = self.client.update(
                f"items/{chosen.number}", {"name": chosen.name, **data}, replace=replace
            )
        except CrudsError:
            chosen.possible.add(data["value"])
            raise
        chosen.confirmed = answer["value"]

    def delete(self) -> None:
        """Delete an object: one that was deleted by an attempt without an answer is not there any more."""
        chosen = self.living.pop(self.random.randrange(len(self.living)))
        chosen.deleted = True
        try:
            self.client.delete(f"items/{chosen.number}")
        except ClientError as error:
            if error.status != 404 or error.attempts == 1:
                raise


def work(client: Client, operations: int) -> Record:
    """Do so many operations in `THREADS` threads, and return what they did."""
    record = Record()
    workers = [Worker(client, number, record) for number in range(THREADS)]
    threads = [threading.Thread(target=worker.run, args=[operations // THREADS]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return record


def faults_of(record: Record, api: DemoAPI) -> list[str]:
    """Returns what the rows of the API contradict: nothing doubled, nothing that was confirmed missing."""
    faults = list(record.wrong)
    names = [name for (name,) in api.database.execute("SELECT name FROM object")]
    faults += [f"{name} is there {count} times" for name, count in Counter(names).items() if count > 1]
    # The names are unique: a create that is sent again after it was done is refused.
    faults += [f"{seen.method} {seen.target}: 409" for seen in api.requests if seen.status == 409]
    gone = {each.name for each in record.objects if each.deleted}
    faults += [f"{name} is missing" for name in record.created - gone - set(names)]
    faults += [f"{name} came from nowhere" for name in set(names) - record.created - record.unsure]
    return faults
