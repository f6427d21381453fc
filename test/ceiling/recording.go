// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import "github.com/otelcol-reflex/reflex/test/demo/recording"

// Unlimited stands for the word "max".
const Unlimited = recording.Unlimited

// Sample is memory.current and memory.high at one instant (CLOCK_BOOTTIME, ns).
type Sample struct {
	Time  int64  `json:"t"`
	Usage uint64 `json:"usage"`
	High  uint64 `json:"high"`
}

// Announcement is an ending that the collector announced.
type Announcement struct {
	Time   int64  `json:"t"` // of the tick
	Reason string `json:"reason"`
}

// Service is what was seen of one service. Instants are CLOCK_BOOTTIME in ns, 0 for
// what did not happen.
type Service struct {
	Name string `json:"name"`
	Hold string `json:"hold"`
	Leak string `json:"leak"`
	// Onset is when it began to leak, with Resident bytes in use, Held when its
	// memory.high was first not "max", but High bytes; Died when it ended by SIGKILL.
	Onset    int64  `json:"onset"`
	Resident uint64 `json:"resident"`
	Held     int64  `json:"held"`
	High     uint64 `json:"high"`
	Died     int64  `json:"died"`
	// CPUCalm and CPULeak are CPU time before and after the onset, in CPUs, Full the
	// share of time after it in which every task waited for memory (PSI full).
	CPUCalm   float64        `json:"cpu_calm"`
	CPULeak   float64        `json:"cpu_leak"`
	Full      float64        `json:"full"`
	Announced []Announcement `json:"announced,omitempty"`
	Samples   []Sample       `json:"samples"`
}

// Recording is what a machine brings back of one arm, but for the answers, whose
// service is that of [Service.Name].
type Recording struct {
	Arm      string    `json:"arm"`
	Seed     uint64    `json:"seed"`
	Services []Service `json:"services"`
	// Lateness is how late a 50 ms timer was, its 99th percentile in ms; Busy the CPU
	// time of everything, in CPUs, of CPUs.
	Lateness float64  `json:"lateness_p99_ms"`
	Busy     float64  `json:"busy"`
	CPUs     int      `json:"cpus"`
	Trouble  []string `json:"trouble,omitempty"`
}
