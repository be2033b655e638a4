//! The page, as a browser receives it.

use std::sync::atomic::{AtomicU64, Ordering};

use marea::admin::{AdminOptions, Guard, Limits, Section, Server, router};

use crate::application::start;
use crate::client::{Events, get};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_all_that_it_links_to_is_there() {
    let running = start();
    let served = running.serve().await;
    let page = get(served.address, "/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.body.contains("<title>words</title>"), "{}", page.body);
    let links = page
        .body
        .split(['"', '\''])
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    let mut links: Vec<String> = links.map(str::to_owned).collect();
    assert!(links.len() >= 2, "{links:?}");
    while let Some(link) = links.pop() {
        let file = get(
            served.address,
            &format!("/{}", link.trim_start_matches("./")),
        )
        .await;
        assert_eq!(file.status, 200, "{link}");
        let kind = if link.ends_with(".js") {
            "text/javascript"
        } else {
            "text/css"
        };
        assert!(file.header("content-type").starts_with(kind), "{link}");
        let imports = file.body.lines().filter(|line| line.starts_with("import "));
        links.extend(imports.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_is_on_the_page_and_in_every_state() {
    let running = start();
    let address = "127.0.0.1:0".parse().expect("an address");
    let guard = Guard::for_address(address, None).expect("loopback");
    let asked = AtomicU64::new(0);
    let section = Section::new("oceans", "Oceans", "oceans.js")
        .style("oceans.css")
        .data(move || serde_json::json!({ "asked": asked.fetch_add(1, Ordering::Relaxed) }));
    let failing = Section::new("failing", "Failing", "failing.js").data(|| panic!("no data"));
    let options = AdminOptions::new(guard)
        .title("Seas & oceans")
        .section(section)
        .section(failing);
    let served = running.serve_as(options, Limits::default()).await;
    let page = get(served.address, "/").await.body;
    assert!(page.contains("<title>Seas &amp; oceans</title>"), "{page}");
    assert!(
        page.contains("data-section=\"oceans\" data-module=\"oceans.js\""),
        "{page}"
    );
    assert!(page.contains("href=\"oceans.css\""), "{page}");
    let (_, state) = Events::open(served.address, None).await.next().await;
    assert_eq!(state["sections"]["oceans"]["asked"], 0);
    assert_eq!(state["sections"]["failing"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_under_a_prefix_the_page_finds_what_is_beside_it() {
    let running = start();
    let address = "127.0.0.1:0".parse().expect("an address");
    let guard = Guard::for_address(address, None).expect("loopback");
    let face = router(running.application.handle(), AdminOptions::new(guard));
    let server = Server::bind(address, Limits::default())
        .await
        .expect("a free port");
    let address = server.address();
    let nested = axum::Router::new().nest("/admin", face);
    tokio::spawn(server.serve(nested, std::future::pending()));
    let page = get(address, "/admin").await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("<base href=\"/admin/\">"),
        "{}",
        page.body
    );
    assert_eq!(get(address, "/admin/page.js").await.status, 200);
    assert_eq!(get(address, "/admin/state").await.status, 200);
}
