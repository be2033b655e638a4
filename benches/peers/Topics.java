import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.zip.CRC32;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What a run left on the broker. {@code Topics count TOPIC...} reads topics to their end (read committed) and prints one JSON line:
 * for each its number of records, and a checksum of partition, key, value and timestamp of all of them, one in their order within
 * partitions and one in any order. {@code Topics clear KEEP...} deletes all topics but those, and the groups.
 */
public class Topics {
  static Map<String, Object> settings() {
    return Map.of("bootstrap.servers", System.getProperty("bootstrap", "127.0.0.1:19092"), "isolation.level", "read_committed");
  }

  public static void main(String[] a) throws Exception {
    List<String> names = List.of(a).subList(1, a.length);
    if (a[0].equals("count")) count(names); else clear(names);
  }

  static void count(List<String> topics) {
    StringJoiner out = new StringJoiner(",", "{", "}");
    for (String topic : topics) {
      try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(settings(), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
        List<TopicPartition> all = c.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
        c.assign(all); c.seekToBeginning(all);
        Map<TopicPartition, Long> ends = c.endOffsets(all);
        CRC32[] sums = new CRC32[all.size()];
        for (int i = 0; i < sums.length; i++) sums[i] = new CRC32();
        long records = 0, unordered = 0;
        CRC32 one = new CRC32();
        while (all.stream().anyMatch(p -> c.position(p) < ends.get(p))) for (var r : c.poll(Duration.ofMillis(200))) {
          records++; one.reset(); one.update(r.partition());
          for (CRC32 sum : List.of(sums[r.partition()], one)) {
            if (r.key() != null) sum.update(r.key()); sum.update(0);
            if (r.value() != null) sum.update(r.value()); sum.update(0);
            for (int bits = 0; bits < 64; bits += 8) sum.update((int) (r.timestamp() >>> bits));
          }
          unordered += one.getValue();
        }
        long checksum = 0;
        for (CRC32 sum : sums) checksum = checksum * 31 + sum.getValue();
        out.add(String.format("\"%s\":{\"records\":%d,\"checksum\":\"%016x\",\"unordered\":\"%016x\"}", topic, records, checksum, unordered));
      }
    }
    System.out.println(out);
  }

  static void clear(List<String> keep) throws Exception {
    try (Admin admin = Admin.create(settings())) {
      List<String> groups = admin.listGroups().all().get().stream().map(GroupListing::groupId).toList();
      for (String group : groups) {
        // One that was left without a word lives until its session ends.
        try { admin.deleteConsumerGroups(List.of(group)).all().get(); } catch (ExecutionException e) { if (!(e.getCause() instanceof GroupNotEmptyException)) throw e; }
      }
      List<String> old = admin.listTopics().names().get().stream().filter(t -> !keep.contains(t)).toList();
      admin.deleteTopics(old).all().get();
    }
  }
}
