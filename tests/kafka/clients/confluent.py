"""confluent-kafka, for tests/kafka/interop.rs; as Clients.java, which says what a line is.

    confluent.py write BOOTSTRAP TOPIC CODEC... | read BOOTSTRAP TOPIC COUNT
"""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition


def to_bytes(word):
    return None if word == "-" else bytes.fromhex(word[1:])


def to_word(data):
    return "-" if data is None else "x" + data.hex()


def write(bootstrap, topic, codecs):
    lines = sys.stdin.read().splitlines()
    failed = []
    for codec in codecs:
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.type": codec,
                "linger.ms": 50,
                # Its default is a hash of its own.
                "partitioner": "murmur2_random",
            }
        )
        for line in lines:
            words = line.split()
            headers = [
                (to_bytes(name).decode(), to_bytes(value))
                for name, value in zip(words[4::2], words[5::2])
            ]
            producer.produce(
                f"{topic}-{codec}",
                key=to_bytes(words[2]),
                value=to_bytes(words[3]),
                headers=headers,
                timestamp=int(words[1]),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        left = producer.flush(20)
        if left or failed:
            sys.exit(f"{left} records were not delivered: {failed[:1]}")


def read(bootstrap, topic, count):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # A name is asked for, though nothing is committed.
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    partitions = consumer.list_topics(topic, timeout=15).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    seen = 0
    while seen < count:
        record = consumer.poll(15)
        if record is None:
            sys.exit(f"only {seen} of {count} records came")
        if record.error():
            sys.exit(str(record.error()))
        words = [str(record.partition()), str(record.timestamp()[1])]
        words += [to_word(record.key()), to_word(record.value())]
        for name, value in record.headers() or []:
            words += [to_word(name.encode()), to_word(value)]
        print(" ".join(words))
        seen += 1
    consumer.close()


if __name__ == "__main__":
    verb, bootstrap, topic, *rest = sys.argv[1:]
    if verb == "write":
        write(bootstrap, topic, rest)
    else:
        read(bootstrap, topic, int(rest[0]))
