// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Settings describe one run of the scenario.
type Settings struct {
	// Base is the cgroup v2 directory below which the scenario makes its cgroups.
	Base string
	// Out is the directory that receives the recording.
	Out string
	// Guest is this program's own binary, for its other roles.
	Guest string
	// Collector and Guard are otelcol-reflex and reflexguard.
	Collector, Guard string
	// Arms are run in this order.
	Arms []string
	// Seed decides the schedule of requests, in every arm alike.
	Seed uint64
	// Calm and Leak are the lengths of the two parts of an arm.
	Calm, Leak time.Duration

	// Limit is memory.max of the payment service in bytes, Resident the share of
	// it that is in use when the leak begins, LeakRate the leak in bytes a second.
	Limit    uint64
	Resident float64
	LeakRate uint64
	// NeighbourResident is the neighbour's working set in bytes.
	NeighbourResident uint64
	// Work is how many bytes of its working set a request reads, Wait how long it
	// then waits, as for a database. A service that waits for nothing would show
	// its clients the scheduler of an emulated machine and little else.
	Work int
	Wait time.Duration
	// RequestRate is in requests a second to each service, Deadline the longest
	// wait for an answer. At 100 a second the services and the client took 1.2 to
	// 1.5 of two emulated processors, at 50 still 0.8 to 1.1, and a p99 was the
	// machine's, not Reflex's.
	RequestRate float64
	Deadline    time.Duration
}

// Default is the 2am scenario: a limit of 2 GiB, 61 % of it in use, 50 MB/s
// more of it each second, which leaves an unprotected service 16.7 s.
func Default() Settings {
	return Settings{
		Arms: []string{"without", "with"},
		Seed: 2, // am
		Calm: time.Minute, Leak: time.Minute,
		Limit: 2 << 30, Resident: 0.61, LeakRate: 50_000_000,
		NeighbourResident: 128 << 20,
		Work:              16 << 10,
		Wait:              50 * time.Millisecond,
		RequestRate:       25, Deadline: time.Second,
	}
}

// Check says what is wrong with the settings, if anything.
func (s *Settings) Check() error {
	var errs []error
	if s.Base == "" || s.Out == "" || s.Guest == "" {
		errs = append(errs, errors.New("base, out and guest must be given"))
	}
	if s.Resident <= 0 || s.Resident >= 1 {
		errs = append(errs, fmt.Errorf("resident is %g, want a share between 0 and 1", s.Resident))
	}
	if s.Calm <= 0 || s.Leak <= 0 || s.Deadline <= s.Wait || s.RequestRate <= 0 {
		errs = append(errs, errors.New("calm, leak and rate must be positive, and the deadline longer than the wait"))
	}
	return errors.Join(errs...)
}

func (s *Settings) logs() string { return filepath.Join(s.Out, "log") }
