//! The prometheus adapter, driven through the port: every scenario on the sandbox's double and on a real server.
//!
//! [`rig`] writes samples with the times that a scenario needs, each test under a label of its own. [`faults`] breaks the double's
//! answers, [`real`] is what only a real server has: expressions, TLS, a server that is not ready. [`words`] holds the double's
//! answers against the server's.

mod alerts;
mod expect;
mod faults;
mod real;
mod rig;
mod words;

/// Runs every scenario on a server.
macro_rules! all_scenarios {
    ($rig:expr => $($part:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$part::$name($rig).await;
            }
        )+)+
    };
}

macro_rules! on {
    ($rig:expr) => {
        all_scenarios! { $rig =>
            expect:
                values_are_held_against_bounds,
                what_is_not_there_is_no_data,
                the_series_that_break_a_bound_are_named,
                one_series_is_enough_where_any_may_be,
                a_condition_has_to_last,
                a_value_is_compared_with_its_past,
                old_samples_are_no_data,
                a_scalar_is_a_value_without_labels,
                what_gives_no_numbers_is_refused_for_good,
                who_answers_is_told;
            alerts:
                an_alert_is_told_while_it_fires;
        }
    };
}

mod on_the_double {
    on!(super::rig::Rig::double());
}

mod on_a_real_server {
    on!(super::rig::Rig::real());
}
