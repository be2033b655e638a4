import com.fasterxml.jackson.databind.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.*;
import org.apache.kafka.streams.state.*;

/**
 * The peer of {@code benches/end_to_end.rs}: {@code Peer TOPOLOGY RECORDS [setting=value...]} runs one Kafka Streams topology (pass,
 * filter, sensor, count, ocean, join) over a loaded topic until every record is committed, then prints one JSON line. RECORDS 0 runs
 * until it is killed, for Latency.
 *
 * <p>{@code -Dbootstrap -Din -Dapp -Dstate} name the broker, the input, the application and its directory; {@code -Drestore=1} with the
 * same app and an emptied state times the restore. The settings are those of Kafka Streams.
 */
public class Peer {
  public static final class Reading { public String sensor, ocean; public double temperature, salinity, volume; public long ts; }
  public static final class Avg { public long n; public double t, s, v; }
  static final ObjectMapper M = new ObjectMapper();
  static <T> Serde<T> json(Class<T> c) {
    ObjectReader rd = M.readerFor(c); ObjectWriter wr = M.writerFor(c);
    return Serdes.serdeFrom((t, v) -> { try { return v == null ? null : wr.writeValueAsBytes(v); } catch (Exception e) { throw new RuntimeException(e); } },
                            (t, b) -> { try { return b == null ? null : rd.readValue(b); } catch (Exception e) { throw new RuntimeException(e); } });
  }
  static Serde<Avg> avg() { // a compact binary state serde, to be fair to the peer
    return Serdes.serdeFrom((t, v) -> v == null ? null : ByteBuffer.allocate(32).putLong(v.n).putDouble(v.t).putDouble(v.s).putDouble(v.v).array(),
      (t, b) -> { if (b == null) return null; ByteBuffer x = ByteBuffer.wrap(b); Avg a = new Avg(); a.n = x.getLong(); a.t = x.getDouble(); a.s = x.getDouble(); a.v = x.getDouble(); return a; });
  }
  static void build(String topo, String in, StreamsBuilder b) {
    Serde<Reading> rs = json(Reading.class);
    switch (topo) {
      case "pass" -> b.stream(in, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray())).to("out-pass", Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
      case "filter" -> b.stream(in, Consumed.with(Serdes.String(), rs)).filter((k, v) -> v.temperature > 30).to("out-filter", Produced.with(Serdes.String(), rs));
      // per-sensor tumbling averages: no repartition, many keys
      case "sensor" -> b.stream(in, Consumed.with(Serdes.String(), rs)).groupByKey(Grouped.with(Serdes.String(), rs))
          .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)))
          .aggregate(Avg::new, (k, r, a) -> { a.n++; a.t += r.temperature; a.s += r.salinity; a.v += r.volume; return a; },
            Materialized.<String, Avg, WindowStore<Bytes, byte[]>>as("sensor-avg").withKeySerde(Serdes.String()).withValueSerde(avg()).withRetention(Duration.ofSeconds(60)))
          .toStream().map((w, a) -> KeyValue.pair(w.key(), a)).to("out-sensor", Produced.with(Serdes.String(), avg()));
      // count by key
      case "count" -> b.stream(in, Consumed.with(Serdes.String(), Serdes.ByteArray())).groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
          .count(Materialized.as("counts")).toStream().to("out-count", Produced.with(Serdes.String(), Serdes.Long()));
      // the reference pipeline: re-keyed by ocean (a repartition topic), windowed averages, alerts
      case "ocean" -> {
        KTable<Windowed<String>, Avg> t = b.stream(in, Consumed.with(Serdes.String(), rs)).groupBy((k, r) -> r.ocean, Grouped.with("by-ocean", Serdes.String(), rs))
          .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)))
          .aggregate(Avg::new, (k, r, a) -> { a.n++; a.t += r.temperature; a.s += r.salinity; a.v += r.volume; return a; },
            Materialized.<String, Avg, WindowStore<Bytes, byte[]>>as("ocean-avg").withKeySerde(Serdes.String()).withValueSerde(avg()).withRetention(Duration.ofSeconds(60)));
        KStream<String, Avg> s = t.toStream().map((w, a) -> KeyValue.pair(w.key(), a));
        s.to("out-ocean", Produced.with(Serdes.String(), avg()));
        s.filter((k, a) -> a.t / a.n > 17.6).to("out-alerts", Produced.with(Serdes.String(), avg()));
      }
      // a windowed stream-stream join: every reading with the readings of the same sensor on a second topic within 200 ms, or -Dreach_ms
      case "join" -> b.stream(in, Consumed.with(Serdes.String(), Serdes.ByteArray())).join(
            b.stream(in + "2", Consumed.with(Serdes.String(), Serdes.ByteArray())),
            (l, r) -> { byte[] o = Arrays.copyOf(l, 8 + r.length); return o; },
            JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMillis(Long.getLong("reach_ms", 200)), Duration.ofSeconds(3)),
            StreamJoined.with(Serdes.String(), Serdes.ByteArray(), Serdes.ByteArray()).withName("pair"))
          .to("out-join", Produced.with(Serdes.String(), Serdes.ByteArray()));
      default -> throw new IllegalArgumentException(topo);
    }
  }
  public static void main(String[] a) throws Exception {
    long t0 = System.nanoTime();
    String topo = a[0]; long n = Long.parseLong(a[1]);
    Properties p = new Properties();
    String dir = System.getProperty("state", System.getProperty("java.io.tmpdir") + "/peer-state");
    String app = System.getProperty("app", "peer-" + topo + "-" + System.currentTimeMillis());
    String in = System.getProperty("in", "readings");
    p.put("application.id", app); p.put("bootstrap.servers", System.getProperty("bootstrap", "127.0.0.1:19092"));
    p.put("state.dir", dir); p.put("auto.offset.reset", "earliest"); p.put("num.stream.threads", "2");
    p.put("replication.factor", "1");
    for (int i = 2; i < a.length; i++) { int e = a[i].indexOf('='); p.put(a[i].substring(0, e), a[i].substring(e + 1)); }
    StreamsBuilder b = new StreamsBuilder(); build(topo, in, b);
    int parts;
    try (Admin ad = Admin.create(Map.of("bootstrap.servers", p.get("bootstrap.servers")))) {
      parts = ad.describeTopics(List.of(in)).allTopicNames().get().get(in).partitions().size();
      for (String o : List.of("out-" + topo, "out-alerts")) try { ad.createTopics(List.of(new NewTopic(o, parts, (short) 1))).all().get(); } catch (Exception e) { }
      KafkaStreams ks = new KafkaStreams(b.build(), p);
      AtomicLong restored = new AtomicLong(); AtomicLong r0 = new AtomicLong(), r1 = new AtomicLong();
      ks.setGlobalStateRestoreListener(new StateRestoreListener() {
        public void onRestoreStart(TopicPartition tp, String s, long x, long y) { r0.compareAndSet(0, System.nanoTime()); }
        public void onBatchRestored(TopicPartition tp, String s, long e, long c) { restored.addAndGet(c); }
        public void onRestoreEnd(TopicPartition tp, String s, long tot) { r1.set(System.nanoTime()); }
      });
      ks.start();
      if (n == 0) { System.out.println("running"); Thread.sleep(Long.MAX_VALUE); }
      long first = 0, committed = 0;
      while (true) {
        Thread.sleep(50);
        if (ks.state() == KafkaStreams.State.ERROR) { System.err.println("peer: it has failed, see above"); System.exit(1); }
        if (first == 0) { double c = 0; for (var m : ks.metrics().values()) if (m.metricName().name().equals("process-total") && m.metricName().group().equals("stream-thread-metrics")) c += (double) m.metricValue(); if (c > 0) { first = System.nanoTime(); } }
        committed = 0;
        if (first != 0 || System.getProperty("restore") != null) {
          try { for (var e : ad.listConsumerGroupOffsets(app).partitionsToOffsetAndMetadata().get().entrySet()) if (e.getKey().topic().startsWith(in)) committed += e.getValue().offset(); } catch (Exception e) { }
          // the source is fully read; for a repartitioned topology the lag of the internal topics must be zero too
          if (committed >= n) {
            long lag = 0; Map<TopicPartition, OffsetSpec> q = new HashMap<>(); Map<TopicPartition, Long> at = new HashMap<>();
            for (var e : ad.listConsumerGroupOffsets(app).partitionsToOffsetAndMetadata().get().entrySet()) { q.put(e.getKey(), OffsetSpec.latest()); at.put(e.getKey(), e.getValue().offset()); }
            boolean eos = String.valueOf(p.get("processing.guarantee")).startsWith("exactly");
            for (var e : ad.listOffsets(q).all().get().entrySet()) lag += Math.max(0, e.getValue().offset() - at.get(e.getKey()) - (eos ? 1 : 0));
            if (lag == 0 && !(System.getProperty("restore") != null && r1.get() == 0)) break;
          }
        }
      }
      long t1 = System.nanoTime();
      double dropped = 0; for (var m : ks.metrics().values()) if (m.metricName().name().equals("dropped-records-total")) dropped += (double) m.metricValue();
      ks.close();
      var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
      String hwm = Files.readAllLines(Path.of("/proc/self/status")).stream().filter(l -> l.startsWith("VmHWM")).findFirst().get().replaceAll("[^0-9]", "");
      if (first == 0) first = t1; double el = Math.max(1, t1 - first) / 1e9;
      System.out.printf(Locale.ROOT, "{\"peer\":\"kafka-streams\",\"topology\":\"%s\",\"records\":%d,\"seconds\":%.3f,\"records_per_s\":%.0f,\"startup_s\":%.3f,\"cpu_s\":%.2f,\"rss_mib\":%d,\"restored\":%d,\"restore_s\":%.3f,\"dropped\":%.0f}%n",
        topo, n, el, n / el, (first - t0) / 1e9, os.getProcessCpuTime() / 1e9, Long.parseLong(hwm) / 1024, restored.get(), (r1.get() - r0.get()) / 1e9, dropped);
    }
    System.exit(0);
  }
}
