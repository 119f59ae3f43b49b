// Asks iris over HTTP with the JDK alone (17 or newer): java Infer.java [host:port]
//
// The JDK reads no JSON. It need not: the version is in a header too, and the label comes as binary
// data, which is also the faster way for large tensors.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;

public final class Infer {
  private static final String QUESTION = """
      {
        "inputs": [
          {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [4.9, 2.5, 4.5, 1.7]}
        ],
        "outputs": [{"name": "label", "parameters": {"binary_data": true}}]
      }
      """;

  public static void main(String[] arguments) throws Exception {
    var address = arguments.length > 0 ? arguments[0] : "127.0.0.1:8000";

    // Keep one client for many requests: it holds the connections. The port speaks HTTP/1.1.
    var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    var request = HttpRequest.newBuilder(URI.create("http://" + address + "/v2/models/iris/infer"))
        .header("Content-Type", "application/json")
        .timeout(Duration.ofSeconds(10))
        .POST(BodyPublishers.ofString(QUESTION))
        .build();
    var response = client.send(request, BodyHandlers.ofByteArray());
    if (response.statusCode() != 200) {
      System.err.println(response.statusCode() + ": " + new String(response.body(), "UTF-8"));
      System.exit(1);
    }

    // The body is JSON of this length, then the values: INT64, little-endian.
    var json = response.headers().firstValue("Inference-Header-Content-Length").orElseThrow();
    var body = ByteBuffer.wrap(response.body()).order(ByteOrder.LITTLE_ENDIAN);
    var label = body.getLong(Integer.parseInt(json));

    var version = response.headers().firstValue("x-tidegate-version").orElseThrow();
    System.out.println("iris version " + version + " says " + label);
  }
}
