// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package bpf

import (
	"fmt"
	"runtime"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

var errPlatform = fmt.Errorf("bpf programs on %s/%s: %w", runtime.GOOS, runtime.GOARCH, ErrUnsupported)

// Node reads the state of the node. It cannot be opened on this platform.
type Node struct{}

// Cgroups reads the state of every cgroup. It cannot be opened on this platform.
type Cgroups struct{}

// Syscalls counts system calls. It cannot be opened on this platform.
type Syscalls struct{}

// OpenNode returns [ErrUnsupported].
func OpenNode() (*Node, error) { return nil, errPlatform }

// OpenCgroups returns [ErrUnsupported].
func OpenCgroups(string, int) (*Cgroups, error) { return nil, errPlatform }

// OpenCgroupsAndTraffic returns [ErrUnsupported].
func OpenCgroupsAndTraffic(string, int) (*Cgroups, error) { return nil, errPlatform }

// OpenSyscalls returns [ErrUnsupported].
func OpenSyscalls(_, _ time.Duration) (*Syscalls, error) { return nil, errPlatform }

// Usage is what a program has used of the machine.
type Usage struct {
	Name string
	Runs uint64
	Time time.Duration
}

// Meter measures programs. It cannot be opened on this platform.
type Meter struct{}

// OpenMeter returns [ErrUnsupported].
func OpenMeter() (*Meter, error) { return nil, errPlatform }

// Usage returns [ErrUnsupported].
func (*Meter) Usage() ([]Usage, error) { return nil, errPlatform }

// Own returns 0.
func (*Meter) Own() time.Duration { return 0 }

// Close does nothing.
func (*Meter) Close() error { return nil }

// Probe names the platform as the one thing that is missing.
func Probe() []Requirement {
	return []Requirement{{
		Name:   "Linux",
		Cause:  fmt.Sprintf("this is %s/%s", runtime.GOOS, runtime.GOARCH),
		Remedy: "run on Linux on amd64 or arm64",
	}}
}

// Lacking is the requirement called name, unmet for err.
func Lacking(name string, err error) Requirement {
	return Requirement{Name: name, Cause: err.Error(), Remedy: Probe()[0].Remedy}
}

// Needs names the platform, without which there is nothing.
func Needs() []Need { return []Need{{Requirement: "Linux"}} }

// ProbeTraffic names the platform as what is missing.
func ProbeTraffic() []Requirement { return Probe() }

// Read returns [ErrUnsupported].
func (*Node) Read(*arc.Node) error { return errPlatform }

// Missing returns what [Probe] does.
func (*Node) Missing() []Requirement { return Probe() }

// Close does nothing.
func (*Node) Close() error { return nil }

// Sweep returns [ErrUnsupported].
func (*Cgroups) Sweep(*arc.Sweep) error { return errPlatform }

// Missing returns what [Probe] does.
func (*Cgroups) Missing() []Requirement { return Probe() }

// Close does nothing.
func (*Cgroups) Close() error { return nil }

// Read returns [ErrUnsupported].
func (*Syscalls) Read(*arc.Node) error { return errPlatform }

// Close does nothing.
func (*Syscalls) Close() error { return nil }

// Enforcement drops packets. It cannot be opened on this platform.
type Enforcement struct{}

// OpenShield returns [ErrUnsupported].
func OpenShield(ShieldOptions) (*Enforcement, error) { return nil, errPlatform }

// OpenThrottle returns [ErrUnsupported].
func OpenThrottle(VerdictOptions) (*Enforcement, error) { return nil, errPlatform }

// OpenQuarantine returns [ErrUnsupported].
func OpenQuarantine(VerdictOptions) (*Enforcement, error) { return nil, errPlatform }

// Renew returns [ErrUnsupported].
func (*Enforcement) Renew(uint64, int64) error { return errPlatform }

// Counts returns [ErrUnsupported].
func (*Enforcement) Counts() ([]Count, error) { return nil, errPlatform }

// Close does nothing.
func (*Enforcement) Close() error { return nil }
