//! The docker adapter, driven through the port: every scenario on the sandbox's double and on the real Docker Engine.
//!
//! [`rig`] makes compose projects and looks at what became of them with a client of its own; [`double`] starts the
//! sandbox's engine; [`proxy`] breaks the wire.

mod crash;
mod double;
mod expect;
mod power;
mod proxy;
mod rig;
mod scale;
mod swap;
mod tls;
mod wire;

/// Runs every scenario on an engine.
macro_rules! scenarios {
    ($rig:expr => $($part:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$part::$name(&$rig).await;
            }
        )+)+
    };
}

/// Every scenario.
macro_rules! all_scenarios {
    ($rig:expr) => {
        scenarios! { $rig =>
            power:
                a_project_is_stopped_and_comes_back,
                only_the_named_services_of_the_very_project_are_touched,
                what_does_not_exist_is_named,
                a_stubborn_container_is_killed_after_its_grace,
                stopped_containers_are_started_and_stopped_again,
                undo_refuses_a_container_that_was_replaced,
                a_stop_that_is_cut_off_is_unknown_and_later_found_done,
                the_engine_says_who_it_is;
            expect:
                containers_are_counted_by_state,
                an_unhealthy_container_does_not_count,
                a_plan_s_own_effects_count,
                typing_mistakes_are_found_before_the_run;
            scale:
                surplus_containers_are_parked_and_come_back,
                parked_containers_serve_again_before_new_ones_are_made,
                undo_leaves_alone_what_others_made;
            swap:
                a_container_goes_back_to_the_old_image_and_forward_again,
                a_broken_image_brings_the_old_container_back,
                a_stop_that_is_said_to_have_failed_leaves_the_old_container_running,
                a_missing_image_touches_nothing,
                the_wanted_image_is_a_success_and_a_stopped_container_stays_stopped,
                a_swap_that_another_run_left_half_done_is_not_guessed_at;
            crash:
                a_swap_may_die_at_any_request,
                scaling_down_may_die_at_any_request,
                scaling_up_may_die_at_any_request;
        }
    };
}

mod on_the_double {
    all_scenarios!(super::double::start());
}

mod on_the_real_engine {
    use super::rig::Rig;

    all_scenarios!(Rig::real());
}
