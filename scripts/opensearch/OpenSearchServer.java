import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One OpenSearch node on 127.0.0.1, until standard input ends: so it goes when the program that started it goes.
 * Arguments: data folder, HTTP port, class names of plugins with commas between. Prints "READY PORT" (behind what the log puts before it) when it can be asked.
 */
public final class OpenSearchServer {
    public static void main(String[] args) throws Exception {
        var runner = new OpenSearchRunner();
        // The runner gives node 1 the port after the base.
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", args[1]);
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(OpenSearchRunner.newConfigs()
            .basePath(args[0])
            .clusterName("rec-r1-tests")
            .numOfNode(1)
            .baseHttpPort(Integer.parseInt(args[1]) - 1)
            .pluginTypes(args[2])
            .useLogger());
        runner.ensureYellow();
        System.out.println("READY " + runner.node().settings().get("http.port"));
        while (System.in.read() != -1) {
            // Nothing is said on standard input; its end is the message.
        }
        runner.close();
        runner.clean();
        System.exit(0);
    }
}
