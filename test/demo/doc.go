// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package demo plays the 2am scenario and reports on it: a payment service
// leaks memory until the kernel kills it, once alone and once under Reflex.
//
// It chooses where to play ([Choose]): on this machine where it is root on
// cgroup v2 with the memory controller, else in a virtual machine. It builds
// the static program of package scenario, runs it there, shows the live
// timeline (package terminal), and hands the recording to package report, whose
// acceptance decides whether the demonstration succeeded. The package promises
// to leave nothing behind but its output directory. It refuses to measure:
// everything in the report was measured next to the workload.
package demo
