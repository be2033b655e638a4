import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.*;
import org.HdrHistogram.Histogram;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.header.internals.*;
import org.apache.kafka.common.serialization.*;

/**
 * Latency of whichever side runs: {@code Latency IN OUT RATE SECONDS [SENSORS]}. An open-loop load of RATE readings a second on IN;
 * latency from the moment a record was due to the arrival on OUT (read committed) of a result that carries its header {@code t}. Any
 * engine that passes headers on can be measured.
 */
public class Latency {
  public static void main(String[] a) throws Exception {
    String in = a[0], out = a[1]; int rate = Integer.parseInt(a[2]), secs = Integer.parseInt(a[3]), sensors = a.length > 4 ? Integer.parseInt(a[4]) : 10000;
    String bs = System.getProperty("bootstrap", "127.0.0.1:19092");
    Properties c = new Properties(); c.put("bootstrap.servers", bs); c.put("group.id", "latency-" + System.nanoTime()); c.put("auto.offset.reset", "latest"); c.put("isolation.level", "read_committed"); c.put("fetch.max.wait.ms", "5");
    KafkaConsumer<byte[], byte[]> k = new KafkaConsumer<>(c, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    k.assign(k.partitionsFor(out).stream().map(p -> new org.apache.kafka.common.TopicPartition(p.topic(), p.partition())).toList());
    k.seekToEnd(k.assignment()); for (var tp : k.assignment()) k.position(tp);
    Properties p = new Properties(); p.put("bootstrap.servers", bs); p.put("linger.ms", "1"); p.put("acks", "1");
    String[] oceans = {"Atlantic", "Pacific", "Indian", "Arctic", "Southern"};
    long warm = 3_000_000_000L, total = warm + secs * 1_000_000_000L, t0 = System.nanoTime();
    Thread prod = new Thread(() -> {
      try (KafkaProducer<byte[], byte[]> pr = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
        SplittableRandom r = new SplittableRandom(11); long i = 0;
        while (true) {
          long due = t0 + i * 1_000_000_000L / rate; if (due - t0 > total) break;
          while (System.nanoTime() < due) Thread.sleep(0, 200_000);
          int s = r.nextInt(sensors); long ts = System.currentTimeMillis();
          String v = "{\"sensor\":\"s" + s + "\",\"ocean\":\"" + oceans[s % 5] + "\",\"temperature\":" + (r.nextInt(3500) / 100.0) + ",\"salinity\":" + (3000 + r.nextInt(900)) / 100.0 + ",\"volume\":" + r.nextInt(100000) / 10.0 + ",\"ts\":" + ts + "}";
          pr.send(new ProducerRecord<>(in, null, ts, ("s" + s).getBytes(), v.getBytes(), new RecordHeaders().add("t", ByteBuffer.allocate(8).putLong(due).array())));
          i++;
        }
      } catch (Exception e) { e.printStackTrace(); }
    });
    prod.start();
    Histogram h = new Histogram(60_000_000_000L, 3); long seen = 0, end = t0 + total + 3_000_000_000L;
    while (System.nanoTime() < end) for (var r : k.poll(Duration.ofMillis(20))) {
      var t = r.headers().lastHeader("t"); if (t == null) continue; seen++;
      long due = ByteBuffer.wrap(t.value()).getLong(); if (due - t0 > warm) h.recordValue(Math.min(59_000_000_000L, System.nanoTime() - due));
    }
    System.out.printf(Locale.ROOT, "{\"rate\":%d,\"results\":%d,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,\"max_ms\":%.2f}%n", rate, seen,
      h.getValueAtPercentile(50) / 1e6, h.getValueAtPercentile(99) / 1e6, h.getValueAtPercentile(99.9) / 1e6, h.getMaxValue() / 1e6);
  }
}
