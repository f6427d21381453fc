// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import "time"

// Fault is something that goes wrong in some cgroups at once. What it does to the
// counters of node and cgroup is a plain model; what it does to everybody else is
// left out, but for the CPU and the disk they wait for.
type Fault struct {
	Name string `json:"name"`
	// Wanted says that the policy promises to contain it.
	Wanted bool `json:"containment_promised"`
	// Victims is in how many cgroups it happens.
	Victims int `json:"victims"`
	// Watch is how long it is watched at most.
	Watch time.Duration `json:"-"`

	// FromStart says that the engine has learned while everything on the machine was
	// starting, too; else it began later, on a machine that was running.
	FromStart bool `json:"learned_from_start,omitempty"`

	// Leak is bytes a second of anonymous memory, Headroom what the victim's
	// memory.max leaves at the onset.
	Leak     float64 `json:"leak_bytes_per_second,omitempty"`
	Headroom float64 `json:"headroom_bytes,omitempty"`
	// Spin is CPUs wanted, Forks tasks a second that stay, IO bytes a second from
	// the disk.
	Spin  float64 `json:"spin_cpus,omitempty"`
	Forks float64 `json:"forks_per_second,omitempty"`
	IO    float64 `json:"io_bytes_per_second,omitempty"`
}

const megabyte = 1e6

// Faults are those that are spliced in.
func Faults() []Fault {
	return []Fault{
		{Name: "leak 50 MB/s", Wanted: true, Victims: 1, Watch: time.Minute, Leak: 50 * megabyte, Headroom: 600 * megabyte},
		{Name: "leak 50 MB/s, learned from boot on", Wanted: true, FromStart: true, Victims: 1, Watch: time.Minute, Leak: 50 * megabyte, Headroom: 600 * megabyte},
		{Name: "leak 10 MB/s", Wanted: true, Victims: 1, Watch: time.Minute, Leak: 10 * megabyte, Headroom: 300 * megabyte},
		{Name: "leak 2 MB/s", Wanted: true, Victims: 1, Watch: 4 * time.Minute, Leak: 2 * megabyte, Headroom: 300 * megabyte},
		{Name: "two leaks of 25 MB/s", Wanted: true, Victims: 2, Watch: time.Minute, Leak: 25 * megabyte, Headroom: 300 * megabyte},
		{Name: "CPU spin, 4 tasks", Victims: 1, Watch: time.Minute, Spin: 4},
		{Name: "fork bomb, 400/s", Victims: 1, Watch: time.Minute, Spin: 8, Forks: 400, Leak: 4 * megabyte, Headroom: 600 * megabyte},
		{Name: "I/O storm, 200 MB/s", Victims: 1, Watch: time.Minute, IO: 200 * megabyte},
	}
}
