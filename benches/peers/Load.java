import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/**
 * The input of both sides: {@code Load TOPIC PARTITIONS RECORDS SENSORS}. A deterministic ocean workload, JSON readings keyed by
 * sensor; event time advances 1 ms every 20 records, with up to 2 s of disorder.
 *
 * <p>{@code -Dbootstrap=HOST:PORT}; {@code -Dcodec=none|gzip|snappy|lz4|zstd} compresses.
 */
public class Load {
  public static void main(String[] a) throws Exception {
    String topic = a[0]; int parts = Integer.parseInt(a[1]); long n = Long.parseLong(a[2]); int sensors = Integer.parseInt(a[3]);
    Properties p = new Properties();
    p.put("bootstrap.servers", System.getProperty("bootstrap", "127.0.0.1:19092"));
    try (Admin ad = Admin.create(p)) {
      try { ad.createTopics(List.of(new NewTopic(topic, parts, (short) 1))).all().get(); } catch (Exception e) { System.err.println(e.getMessage()); }
    }
    p.put("linger.ms", "20"); p.put("batch.size", "262144"); p.put("acks", "1"); p.put("compression.type", System.getProperty("codec", "none"));
    p.put("buffer.memory", "134217728");
    String[] oceans = {"Atlantic", "Pacific", "Indian", "Arctic", "Southern"};
    SplittableRandom r = new SplittableRandom(7);
    long base = 1_700_000_000_000L;
    try (KafkaProducer<byte[], byte[]> pr = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
      for (long i = 0; i < n; i++) {
        int s = r.nextInt(sensors);
        String oc = oceans[s % 5];
        long ts = base + i / 20 - r.nextInt(2000);
        String v = "{\"sensor\":\"s" + s + "\",\"ocean\":\"" + oc + "\",\"temperature\":" + (r.nextInt(3500) / 100.0) + ",\"salinity\":" + (3000 + r.nextInt(900)) / 100.0 + ",\"volume\":" + r.nextInt(100000) / 10.0 + ",\"ts\":" + ts + "}";
        pr.send(new ProducerRecord<>(topic, null, ts, ("s" + s).getBytes(), v.getBytes()));
      }
    }
    System.out.println("loaded " + n);
  }
}
