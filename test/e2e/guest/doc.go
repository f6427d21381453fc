// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest is the part of the end-to-end suite that runs inside the
// virtual machine, as root on a cgroup v2 host that belongs to it: it starts the
// real guard and the real collector, lets a workload leak, kills what the
// scenario wants killed, and watches every limit from outside.
//
// Nothing here asks Reflex whether Reflex did well: what counts is what an
// independent watcher read from the cgroup files. Reflex's own status is used to
// wait, and for the numbers that only it can know.
//
// The package's tests are compiled on the host and run by package e2e; outside
// of its machine they skip. The test binary also plays the workload: with
// REFLEX_E2E_ROLE set it is one of the processes of a scenario.
package guest
