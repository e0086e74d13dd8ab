// Lucene 9 on the documents and queries of bench/recommenders.mjs: EnglishAnalyzer, BM25 (k1 1.2, b 0.75), queries as bags
// of words with counts as boosts, as Anserini asks. Arguments: documents (id, tab, text), queries (one a line), folder of
// the index, topK, batch size, threads. Prints {"ready": ...}; then answers each line "go" with one JSON line of a round.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.StoredFields;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.search.similarities.BM25Similarity;
import org.apache.lucene.store.MMapDirectory;

public class LuceneBench {
  private static final String FIELD = "text";
  private static final Analyzer ANALYZER = new EnglishAnalyzer();

  public static void main(String[] args) throws Exception {
    Path documents = Path.of(args[0]);
    List<String> queries = Files.readAllLines(Path.of(args[1]), StandardCharsets.UTF_8);
    int topK = Integer.parseInt(args[3]);
    int batchSize = Integer.parseInt(args[4]);
    ExecutorService threads = Executors.newFixedThreadPool(Integer.parseInt(args[5]));
    try (MMapDirectory directory = new MMapDirectory(Path.of(args[2]))) {
      long start = System.nanoTime();
      index(documents, directory);
      double buildSeconds = (System.nanoTime() - start) / 1e9;
      try (DirectoryReader reader = DirectoryReader.open(directory)) {
        IndexSearcher searcher = new IndexSearcher(reader);
        searcher.setSimilarity(new BM25Similarity(1.2f, 0.75f));
        System.out.println("{\"ready\": true}");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (input.readLine() != null) {
          System.out.println(round(searcher, queries, topK, batchSize, threads, buildSeconds));
        }
      }
    } finally {
      threads.shutdown();
    }
  }

  private static void index(Path documents, MMapDirectory directory) throws Exception {
    IndexWriterConfig config = new IndexWriterConfig(ANALYZER);
    config.setRAMBufferSizeMB(256);
    try (IndexWriter writer = new IndexWriter(directory, config);
        BufferedReader lines = Files.newBufferedReader(documents, StandardCharsets.UTF_8)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        int tab = line.indexOf('\t');
        Document document = new Document();
        document.add(new StringField("id", line.substring(0, tab), Field.Store.YES));
        document.add(new TextField(FIELD, line.substring(tab + 1), Field.Store.NO));
        writer.addDocument(document);
      }
      writer.forceMerge(1);
    }
  }

  private static String round(
      IndexSearcher searcher, List<String> queries, int topK, int batchSize, ExecutorService threads, double buildSeconds)
      throws Exception {
    long start = System.nanoTime();
    List<List<String>> first = new ArrayList<>();
    for (int from = 0; from < queries.size(); from += batchSize) {
      List<Future<List<String>>> batch = new ArrayList<>();
      for (String query : queries.subList(from, Math.min(from + batchSize, queries.size()))) {
        batch.add(threads.submit(() -> search(searcher, query, topK)));
      }
      for (Future<List<String>> answer : batch) first.add(answer.get());
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    StringBuilder json = new StringBuilder("{\"seconds\": " + seconds + ", \"buildSeconds\": " + buildSeconds);
    json.append(", \"peakMegabytes\": " + peakMegabytes()).append(", \"first\": [");
    for (int i = 0; i < first.size(); i++) {
      json.append(i == 0 ? "[" : ",[");
      for (int j = 0; j < Math.min(10, first.get(i).size()); j++) {
        json.append(j == 0 ? "\"" : ",\"").append(first.get(i).get(j)).append('"');
      }
      json.append(']');
    }
    return json.append("]}").toString();
  }

  /** Ids and scores of the best, as our side gives them. */
  private static List<String> search(IndexSearcher searcher, String text, int topK) throws Exception {
    Map<String, Integer> counts = new LinkedHashMap<>();
    try (TokenStream tokens = ANALYZER.tokenStream(FIELD, text)) {
      CharTermAttribute term = tokens.addAttribute(CharTermAttribute.class);
      tokens.reset();
      while (tokens.incrementToken()) counts.merge(term.toString(), 1, Integer::sum);
      tokens.end();
    }
    BooleanQuery.Builder builder = new BooleanQuery.Builder();
    for (Map.Entry<String, Integer> entry : counts.entrySet()) {
      Query query = new TermQuery(new Term(FIELD, entry.getKey()));
      builder.add(new BoostQuery(query, entry.getValue()), BooleanClause.Occur.SHOULD);
    }
    StoredFields stored = searcher.storedFields();
    List<String> ids = new ArrayList<>();
    for (ScoreDoc hit : searcher.search(builder.build(), topK).scoreDocs) ids.add(stored.document(hit.doc).get("id"));
    return ids;
  }

  /** Largest resident set so far, by the kernel; -1 where it doesn't say. */
  private static long peakMegabytes() throws Exception {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) return -1;
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("\\D", "")) / 1024;
    }
    return -1;
  }
}
