//! What the README tells people to type, typed.

use std::path::Path;

use harness::on_each_backend;
use harness::shop::Shop;
use tempfile::TempDir;
use tokio::process::Command;

const TOKEN: &str = "the-token-of-the-operator-of-this-shop";

/// The commands of the README's section about buying with curl.
fn commands() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## With curl\n").nth(1).expect("a section about curl");
    let block = section.split("\n```sh\n").nth(1).expect("a block of commands");
    block.split("\n```").next().unwrap().to_owned()
}

on_each_backend! {
    async fn the_commands_of_the_readme_do_what_it_says(fresh: Fresh) {
        let environment = [("WIDGET_TICK_MS", "20"), ("WIDGET_ADMIN_TOKEN", TOKEN)];
        let shop = Shop::open(&fresh, &environment).await.unwrap();
        // The shop is at another port than the README's, and an error ends the script.
        let home = TempDir::new().unwrap();
        let settings = format!("connect-to = \"127.0.0.1:8000:{}\"\nfail-with-body\nsilent\nmax-time = 30\n", shop.address);
        std::fs::write(home.path().join(".curlrc"), settings).unwrap();

        let ran = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &commands()])
            .env("CURL_HOME", home.path())
            .env("WIDGET_ADMIN_TOKEN", TOKEN)
            .kill_on_drop(true)
            .output();
        let ran = ran.await.unwrap();
        let (said, complaints) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{said}\n{complaints}");
        let expected = [
            r#"{"key":"order_id","value":"1"}"#,
            "id: 0\ndata: {\"percent\":10}\n",
            "id: 9\ndata: {\"percent\":100}\n",
            "event: end\n",
            r#""order_status":1"#,
            r#""checkout""#,
            "# TYPE dbos_",
        ];
        let mut rest = &*said;
        for text in expected {
            let at = rest.find(text).unwrap_or_else(|| panic!("{text} is missing in:\n{said}"));
            rest = &rest[at..];
        }
        assert_eq!(said.matches("data: {\"percent\"").count(), 10);
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE order_status = 1").await, 1);
        // Sent twice with one key, it was bought once.
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 1);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE name = 'checkout'").await, 1);
    }
}
