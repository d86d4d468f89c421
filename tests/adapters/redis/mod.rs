//! The redis adapter, driven through the port: every scenario on the sandbox's double, on a real server, and on a real
//! cluster of three masters.
//!
//! [`rig`] sets keys and looks for them with a client of its own. [`faults`] breaks the double's answers, [`real`] is what
//! only real servers have: access control, replicas, TLS, slots that move. [`words`] holds the double's answers against the
//! server's.

mod delete;
mod expect;
mod faults;
mod real;
mod rig;
mod words;

/// Runs every scenario on a server.
macro_rules! scenarios {
    ($rig:expr => $($part:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$part::$name($rig.await).await;
            }
        )+)+
    };
}

macro_rules! all_scenarios {
    ($rig:expr) => {
        scenarios! { $rig =>
            delete:
                every_key_of_the_pattern_goes_and_no_other,
                a_pattern_that_is_too_wide_touches_nothing,
                wildcards_mean_what_they_mean_to_redis,
                there_is_no_way_back;
            expect:
                keys_are_counted,
                a_key_is_read_wherever_it_is,
                who_answers_is_told,
                a_plan_s_own_effects_count;
        }
    };
}

mod on_the_double {
    all_scenarios!(super::rig::Rig::double());
}

mod on_a_real_server {
    all_scenarios!(super::rig::Rig::real());
}

mod on_a_real_cluster {
    all_scenarios!(super::rig::Rig::cluster());
}
