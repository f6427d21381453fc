// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package scenario runs the demonstration where the workload lives: it makes
// the cgroups, starts the services, the client and, in the second arm, Reflex;
// lets a calm minute pass, orders the leak, and records what happens.
//
// What it measures it measures itself, from outside Reflex: memory.high of the
// payment service is polled every 5 ms, memory.current ten times a second, and
// death is the exit of the process. It refuses to touch a cgroup it did not
// make and removes those it made. It does not judge: its recording's next stop
// is package report.
package scenario
