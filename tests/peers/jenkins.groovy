// Runs a declarative Jenkinsfile on this machine: parsed by the Groovy that Jenkins embeds, every `sh` by the shell.
// usage: java -cp groovy-all.jar groovy.ui.GroovyMain run.groovy JENKINSFILE
class Failed extends Exception { Failed(String why) { super(why) } }

class Pipeline {
    Map<String, String> environment = [:]
    List<Closure> always = []

    void run(Closure body, Object delegate = this) {
        body.delegate = delegate
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body()
    }
    void pipeline(Closure body) { run(body) }
    void agent(Object which) {}
    Object getAny() { 'any' }
    void parameters(Closure body) { run(body) }
    void string(Map it) { environment[it.name] = System.getenv(it.name) ?: it.defaultValue }
    void stages(Closure body) { run(body) }
    void stage(String name, Closure body) {
        println "stage $name"
        always = []
        Failed failed = null
        List<Closure> steps = []
        run(body, new Stage(pipeline: this, bodies: steps))
        try { steps.each { run(it) } } catch (Failed why) { failed = why }
        always.each { run(it) }
        if (failed) throw failed
    }
    void sh(String script) {
        def process = new ProcessBuilder('sh', '-xe', '-c', script).inheritIO()
        process.environment().putAll(environment)
        int code = process.start().waitFor()
        if (code != 0) throw new Failed("script returned exit code $code")
    }
    void junit(String pattern) { must(pattern) }
    void archiveArtifacts(Map it) { if (!it.allowEmptyArchive) must(it.artifacts) }
    void must(String file) {
        if (!new File(file).isFile()) throw new Failed("$file is not there")
        println "collected $file"
    }
}

class Stage {
    Pipeline pipeline
    List<Closure> bodies
    void steps(Closure body) { bodies << body }
    void post(Closure body) { pipeline.run(body, this) }
    void always(Closure body) { pipeline.always << body }
}

def pipeline = new Pipeline()
def shell = new GroovyShell(new Binding([pipeline: { Closure body -> pipeline.pipeline(body) }]))
try {
    shell.evaluate(new File(args[0]))
    println 'Finished: SUCCESS'
} catch (Failed why) {
    println "ERROR: $why.message"
    println 'Finished: FAILURE'
    System.exit(1)
}
