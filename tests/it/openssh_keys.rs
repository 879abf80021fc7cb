//! Keys as OpenSSH writes them, and its agent.

use crate::signers::signs;
use crate::support::{Run, Workspace, tool};

/// Keys under a passphrase, as ssh-keygen writes them.
fn encrypted_keys(workspace: &Workspace) {
    let with = |passphrase: &str, args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command.env("WEIGHBRIDGE_PASSPHRASE", passphrase);
        command.output().unwrap().into()
    };
    let sign = |passphrase: &str, key: &str| {
        with(
            passphrase,
            &["sign", "--key", key, "--signature", "s", "model"],
        )
    };
    for key in ["locked", "locked-ec"] {
        sign("secret", key).exits(0);
        let public = format!("{key}.pub");
        let verify = ["verify", "--key", &public, "--signature", "s", "model"];
        workspace.run(verify).exits(0);
        sign("wrong", key).exits(2).says("wrong passphrase");
        workspace
            .run(["sign", "--key", key, "--signature", "s", "model"])
            .exits(2)
            .says("needs a passphrase");
    }
    sign("secret", "locked-other").exits(2).says("ssh-add");
    // A derivation that would take for ever is not begun.
    let text = String::from_utf8(workspace.read("locked")).unwrap();
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let mut block = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let rounds = 15 + (4 + 10) + (4 + 6) + 4 + (4 + 16);
    block[rounds..rounds + 4].fill(0xff);
    let body = data_encoding::BASE64.encode(&block);
    let text =
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n");
    workspace.write("endless", text);
    sign("secret", "endless").exits(2).says("rounds of bcrypt");
    // And to PKCS#8.
    workspace.shell("echo other > new-passphrase").exits(0);
    workspace
        .shell(
            "WEIGHBRIDGE_PASSPHRASE=secret weighbridge key encrypt --new-passphrase-fd 3 locked 3< new-passphrase",
        )
        .exits(0);
    sign("other", "locked").exits(0);
}

#[test]
fn openssh_keys_and_its_agent() {
    if !tool("ssh-keygen") || !tool("ssh-agent") {
        return;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    workspace
        .shell(
            "ssh-keygen -q -t ed25519 -N '' -C ed -f ed; ssh-keygen -q -t ecdsa -b 256 -N '' -C p256 -f p256
             ssh-keygen -q -t ecdsa -b 384 -N '' -C p384 -f p384; ssh-keygen -q -t ecdsa -b 521 -N '' -C p521 -f p521
             ssh-keygen -q -t rsa -b 2048 -N '' -C rsa -f rsa; ssh-keygen -q -t ed25519 -N secret -C locked -f locked
             ssh-keygen -q -t ecdsa -b 521 -N secret -a 3 -f locked-ec
             ssh-keygen -q -t ed25519 -N secret -Z chacha20-poly1305@openssh.com -f locked-other

             eval $(ssh-agent -a $PWD/agent) >/dev/null; echo $SSH_AGENT_PID > pid
             ssh-add -q ed p256 p384 p521 rsa; ssh-keygen -l -f p384.pub | cut -d' ' -f2 | tr -d '\\n' > fingerprint",
        )
        .exits(0);
    let socket = workspace.path("agent").display().to_string();
    let variables = [("SSH_AUTH_SOCK", socket.as_str())];
    let fingerprint = String::from_utf8(workspace.read("fingerprint")).unwrap();
    for name in ["ed", "p256", "p384", "p521", fingerprint.as_str()] {
        signs(&workspace, &format!("ssh-agent:{name}"), &variables);
    }
    // The files, and the public halves as OpenSSH writes them.
    for name in ["ed", "p256", "p384", "p521"] {
        workspace
            .run(["sign", "--key", name, "--signature", "s", "model"])
            .exits(0);
        let public = format!("{name}.pub");
        workspace
            .run(["verify", "--key", &public, "--signature", "s", "model"])
            .exits(0);
    }
    let sign = |key: &str| {
        let mut command = workspace.command(["sign", "--key", key, "--signature", "s", "model"]);
        Run::from(command.envs(variables).output().unwrap())
    };
    sign("ssh-agent:rsa").exits(2).says("no such key");
    sign("ssh-agent:").exits(2).says("4 such keys");
    sign("rsa").exits(2).says("ssh-rsa");
    encrypted_keys(&workspace);

    workspace.shell("kill $(cat pid)").exits(0);
    sign("ssh-agent:ed").exits(2).says("the SSH agent");
    workspace
        .run(["sign", "--key", "ssh-agent:ed", "--signature", "s", "model"])
        .exits(2)
        .says("SSH_AUTH_SOCK is not set");
}
