// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package stage is where workloads of the demonstration and of the containment
// suite run: cgroups of their own ([Cgroup]) and processes in them ([Process]).
//
// A cgroup that is removed takes what is left in it along; a process never waits
// for whoever started it to read what it prints.
package stage
