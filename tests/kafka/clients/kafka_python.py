"""kafka-python, for tests/kafka/interop.rs; as Clients.java, which says what a line is.

    kafka_python.py write BOOTSTRAP TOPIC CODEC... | read BOOTSTRAP TOPIC COUNT
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def to_bytes(word):
    return None if word == "-" else bytes.fromhex(word[1:])


def to_word(data):
    return "-" if data is None else "x" + data.hex()


def write(bootstrap, topic, codecs):
    lines = sys.stdin.read().splitlines()
    for codec in codecs:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if codec == "none" else codec,
            linger_ms=50,
        )
        sent = []
        for line in lines:
            words = line.split()
            headers = [
                (to_bytes(name).decode(), to_bytes(value))
                for name, value in zip(words[4::2], words[5::2])
            ]
            sent.append(
                producer.send(
                    f"{topic}-{codec}",
                    key=to_bytes(words[2]),
                    value=to_bytes(words[3]),
                    headers=headers,
                    timestamp_ms=int(words[1]),
                )
            )
        for one in sent:
            one.get(timeout=20)
        producer.close()


def read(bootstrap, topic, count):
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        consumer_timeout_ms=15000,
    )
    partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    seen = 0
    while seen < count:
        record = next(consumer)
        words = [str(record.partition), str(record.timestamp)]
        words += [to_word(record.key), to_word(record.value)]
        for name, value in record.headers:
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
