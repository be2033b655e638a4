import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/**
 * The Java client, for tests/kafka/interop.rs: {@code write BOOTSTRAP TOPIC CODEC...} writes the records of its input to the topics
 * TOPIC-CODEC; {@code read BOOTSTRAP TOPIC COUNT} prints those of a topic; {@code streams BOOTSTRAP APPLICATION IN RECORDS DIRECTORY}
 * runs the topology of that test with Kafka Streams until all is committed.
 *
 * <p>A record is a line: partition, timestamp, key, value, then its headers, each a name and a value. Bytes are in hexadecimal after
 * an x; a dash is null.
 */
public class Clients {
  static final HexFormat HEX = HexFormat.of();

  static byte[] bytes(String word) {
    return word.equals("-") ? null : HEX.parseHex(word.substring(1));
  }

  static String word(byte[] bytes) {
    return bytes == null ? "-" : "x" + HEX.formatHex(bytes);
  }

  public static void main(String[] a) throws Exception {
    switch (a[0]) {
      case "write" -> write(a[1], a[2], List.of(a).subList(3, a.length));
      case "read" -> read(a[1], a[2], Integer.parseInt(a[3]));
      case "streams" -> streams(a[1], a[2], a[3], Long.parseLong(a[4]), a[5]);
      default -> throw new IllegalArgumentException(a[0]);
    }
    System.exit(0);
  }

  static void write(String bootstrap, String topic, List<String> codecs) throws Exception {
    List<String> lines = new BufferedReader(new InputStreamReader(System.in)).lines().toList();
    for (String codec : codecs) {
      Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "compression.type", codec, "linger.ms", "50");
      try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
        List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
        for (String line : lines) {
          String[] w = line.split(" ");
          RecordHeaders headers = new RecordHeaders();
          for (int i = 4; i < w.length; i += 2) headers.add(new String(bytes(w[i]), StandardCharsets.UTF_8), bytes(w[i + 1]));
          sent.add(producer.send(new ProducerRecord<>(topic + "-" + codec, null, Long.parseLong(w[1]), bytes(w[2]), bytes(w[3]), headers)));
        }
        for (var one : sent) one.get();
      }
    }
  }

  static void read(String bootstrap, String topic, int count) {
    Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
    StringBuilder out = new StringBuilder();
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> all = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
      consumer.assign(all);
      consumer.seekToBeginning(all);
      Map<TopicPartition, Long> ends = consumer.endOffsets(all);
      while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) for (var r : consumer.poll(Duration.ofMillis(100))) {
        out.append(r.partition()).append(' ').append(r.timestamp()).append(' ').append(word(r.key())).append(' ').append(word(r.value()));
        for (Header h : r.headers()) out.append(' ').append(word(h.key().getBytes(StandardCharsets.UTF_8))).append(' ').append(word(h.value()));
        out.append('\n');
      }
    }
    System.out.print(out);
  }

  static void streams(String bootstrap, String application, String in, long records, String directory) throws Exception {
    StreamsBuilder builder = new StreamsBuilder();
    KGroupedStream<String, String> words = builder.stream(in, Consumed.with(Serdes.String(), Serdes.String()))
      .selectKey((k, v) -> v)
      .repartition(Repartitioned.with(Serdes.String(), Serdes.String()).withName("by-word").withNumberOfPartitions(3))
      .groupByKey(Grouped.with(Serdes.String(), Serdes.String()));
    words.count(Materialized.as("counts"));
    words.windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(120))).count(Materialized.as("windowed"));
    Properties p = new Properties();
    p.putAll(Map.of("application.id", application, "bootstrap.servers", bootstrap, "state.dir", directory, "auto.offset.reset", "earliest",
      "commit.interval.ms", "100", "statestore.cache.max.bytes", "0", "processing.guarantee", "exactly_once_v2"));
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap)); KafkaStreams streams = new KafkaStreams(builder.build(), p)) {
      streams.start();
      String repartition = application + "-by-word-repartition";
      Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
      for (int partition = 0; partition < 3; partition++) asked.put(new TopicPartition(repartition, partition), OffsetSpec.latest());
      long deadline = System.nanoTime() + 60_000_000_000L;
      while (true) {
        Thread.sleep(50);
        if (streams.state() == KafkaStreams.State.ERROR || System.nanoTime() > deadline) throw new IllegalStateException("Kafka Streams is " + streams.state());
        Map<TopicPartition, OffsetAndMetadata> at = admin.listConsumerGroupOffsets(application).partitionsToOffsetAndMetadata().get();
        long read = 0;
        for (var one : at.entrySet()) if (one.getKey().topic().equals(in)) read += one.getValue().offset();
        if (read < records) continue;
        long lag = 0;
        for (var end : admin.listOffsets(asked).all().get().entrySet()) {
          OffsetAndMetadata done = at.get(end.getKey());
          // The marker of the last transaction is behind the last record.
          lag += Math.max(0, end.getValue().offset() - 1 - (done == null ? 0 : done.offset()));
        }
        if (lag == 0) break;
      }
    }
  }
}
