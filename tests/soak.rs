//! Long use, compressed: requests of every kind by the thousand, on a GPU by the hundred, with the same answers to the same
//! requests and no more memory at the end than in the beginning. `cargo test --test soak -- --ignored`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod common;

use std::sync::{Mutex, PoisonError};

use common::tiny_setokim::model;
use common::{cpu, gpu};
use setokim::image::Image;
use setokim::model::answer::AnswerOptions;
use setokim::model::setokim::Setokim;
use setokim::text::Role;
use setokim::{Message, Part};

/// What an allocator may keep to itself.
const SLACK_KIB: u64 = 4 << 10;

/// The memory that is measured is that of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone(test: impl Future<Output = ()>) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

/// Images and words of a few sizes, by the number of the request.
fn image(request: usize) -> Image {
    let (width, height) = ((8 + request % 5) as u32, (8 + request % 3) as u32);
    let rgb = (0..width * height * 3).map(|at| (at * (7 + request as u32 % 4) % 251) as u8).collect();
    Image::from_rgb(rgb, width, height).unwrap()
}

/// One request, and its whole answer as text.
async fn ask(model: &Setokim, request: usize) -> String {
    let mut options = AnswerOptions { max_tokens: 4, ..AnswerOptions::default() };
    options.diffusion.steps = 2;
    let image = image(request / 6);
    let text = ["what is this?", "where is the dog?", "<user> [SEG]"][request / 6 % 3];
    match request % 6 {
        0 => format!("{:?}", model.tokenize(&image).await.unwrap().clusters),
        1 => format!("{:?}", model.reconstruct(&image).await.unwrap().0.rgb()),
        2 | 3 => {
            let encoded = model.encode_image(&image).await.unwrap();
            let parts = vec![Part::Image(encoded), Part::Text(text.into())];
            let messages = [Message { role: Role::User, parts }];
            let answer = model.chat(&messages, &options).await.unwrap();
            format!("{:?} {}", answer.to_message(), answer.usage.answer_tokens)
        }
        4 => {
            let encoded = model.encode_image(&image).await.unwrap();
            let answer = model.segment(&encoded, text, &options).await.unwrap();
            format!("{:?} {}", answer.mask.map(|found| found.mask), answer.text)
        }
        // Errors are part of long use too.
        _ => Image::decode(&[1, 2, 3]).unwrap_err().to_string(),
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn assert_no_growth(before: u64, what: &str) {
    let after = resident_kib();
    println!("{what}: {before} KiB resident before, {after} KiB at the end");
    assert!(after <= before + SLACK_KIB, "{what}: {before} KiB became {after} KiB");
}

/// Asks `requests` times; after `round` the requests come again, and their answers must.
async fn ask_again_and_again(model: &Setokim, requests: usize, round: usize) {
    let mut first = Vec::new();
    for request in 0..round {
        first.push(ask(model, request).await);
    }
    let before = resident_kib();
    for request in round..requests {
        let answer = ask(model, request % round).await;
        assert_eq!(answer, first[request % round], "request {request}");
    }
    assert_no_growth(before, &format!("{requests} requests, of which the first {round} do not count"));
}

#[test]
#[ignore = "seconds of full load"]
fn ten_thousand_requests_leave_no_trace() {
    alone(async {
        let model = model(cpu().await);
        ask_again_and_again(&model, 10_000, 360).await;
    });
}

#[test]
#[ignore = "minutes of full load on a software GPU"]
fn hundreds_of_requests_leave_no_trace_on_a_gpu() {
    alone(async {
        let model = model(gpu().await);
        ask_again_and_again(&model, 540, 90).await;
    });
}

#[test]
#[ignore = "seconds of full load"]
fn loading_and_dropping_leaves_no_trace() {
    alone(async {
        let round = async || {
            let model = model(cpu().await);
            ask(&model, 2).await
        };
        let first = round().await;
        for _ in 0..10 {
            assert_eq!(round().await, first);
        }
        let before = resident_kib();
        for _ in 0..100 {
            assert_eq!(round().await, first);
        }
        assert_no_growth(before, "100 models, after 11 that do not count");
    });
}
