// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package healthy is the life of a healthy busy machine, for recordings in which
// nothing is wrong: what runs in the cgroups of a virtual machine while
// `reflexctl record` looks on.
//
//	profile.go   what lives on the machine: services, their limits, how often what comes
//	machine.go   the life itself: arrivals by a seed, restarts, deployments
//	cgroup.go    one cgroup and the processes started in it
//	service.go   a service: a working set, and load that goes up and down
//	runtime.go   a program with a heap that it grows into, and collects
//	batch.go     a build, a backup, a cron job, a log and its rotation
//	memory.go    memory and CPU time that they use
//	record.go    machines side by side, and their recordings brought home
//
// The package promises that every process is one that would be missed if it were
// throttled: nothing leaks, nothing grows without settling, nothing runs into its
// limit. The same seed is the same schedule; what the kernel makes of it is not the
// same twice. It refuses to run on anything but a machine of its own.
//
// The data's next stop is package soak.
package healthy
