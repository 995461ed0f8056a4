// Logs in many times with the JDK's HTTP client in its default configuration, which requests an upgrade to HTTP/2 with
// every request. No login may fail, and the client must be able to reuse its connection.
//
// Called by scripts/test-sdk as `java LogIn.java URL PASSWORD` with the password of the administrator "Default".

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.concurrent.atomic.AtomicInteger;

class LogIn {
  static final int LOGINS = 2_000;
  // The client may open a further connection, for example if a pause of the machine exceeds a time limit.
  static final int MAX_CONNECTIONS = 5;

  public static void main(String[] arguments) throws Exception {
    var server = URI.create(arguments[0]);
    var relay = new Relay(server.getHost(), server.getPort());
    var body = "{\"user\": \"Default\", \"pass\": \"%s\", \"device\": \"Java\"}".formatted(arguments[1]);
    var request =
        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + relay.port() + "/api/auth"))
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(body))
            .build();
    var client = HttpClient.newHttpClient();
    for (int number = 1; number <= LOGINS; number++) {
      try {
        check(client.send(request, BodyHandlers.ofString()));
      } catch (Exception e) {
        fail("login %d of %d: %s".formatted(number, LOGINS, e));
      }
    }
    int connections = relay.connections.get();
    if (connections > MAX_CONNECTIONS) {
      fail("the client needed %d connections for %d logins".formatted(connections, LOGINS));
    }
    System.out.printf("ok      %d logins on %d connection(s)%n", LOGINS, connections);
    System.exit(0); // The threads of the client and the relay would keep the program alive.
  }

  static void check(HttpResponse<String> response) throws IOException {
    if (response.statusCode() != 200 || !response.body().contains("\"apikey\"")) {
      throw new IOException("status %d: %s".formatted(response.statusCode(), response.body()));
    }
  }

  static void fail(String message) {
    System.out.println("FAILED  " + message);
    System.exit(1);
  }

  /** Passes connections on to the server and counts them, because the client does not show them. */
  static class Relay {
    final AtomicInteger connections = new AtomicInteger();
    private final ServerSocket listener;

    Relay(String host, int port) throws IOException {
      listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
      start(
          () -> {
            while (true) {
              var client = listener.accept();
              var server = new Socket(host, port);
              connections.incrementAndGet();
              client.setTcpNoDelay(true);
              server.setTcpNoDelay(true);
              start(() -> pass(client, server));
              start(() -> pass(server, client));
            }
          });
    }

    int port() {
      return listener.getLocalPort();
    }

    private static void pass(Socket source, Socket target) throws IOException {
      try (source;
          target) {
        InputStream input = source.getInputStream();
        OutputStream output = target.getOutputStream();
        input.transferTo(output);
      }
    }

    private static void start(Work work) {
      var thread =
          new Thread(
              () -> {
                try {
                  work.run();
                } catch (IOException e) {
                  // The connection has been closed. If that was too early, the client reports it.
                }
              });
      thread.setDaemon(true);
      thread.start();
    }

    private interface Work {
      void run() throws IOException;
    }
  }
}
