// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/wake"
)

// remedyTriggers is for stalls that BPF does not read.
const remedyTriggers = "give the collector CAP_SYS_RESOURCE and a writable /proc/pressure (since Linux 6.4 the latter is enough), or what lets BPF read stalls"

// openWatch opens what a slow sampler is woken by: what BPF reads of the node,
// and PSI triggers for stalls that it does not.
func (s *Sources) openWatch(pressure string) {
	cpus := onlineCPUs()
	watch := wake.New(s.bpf, nil, cpus)
	if sees := watch.Sees(); !sees.Has(wake.CPUStall) || !sees.Has(wake.MemoryStall) || !sees.Has(wake.IOStall) {
		triggers, err := wake.OpenTriggers(pressure)
		if err != nil {
			remedy := remedyTriggers
			if errors.Is(err, fs.ErrNotExist) {
				remedy = cgroupfs.PressureRemedy
			}
			s.lack("PSI triggers", oneLine(err), remedy+"; until then stalls do not wake the sampler before its interval is over")
		}
		if triggers != nil {
			s.closers = append(s.closers, triggers)
			watch = wake.New(s.bpf, triggers, cpus)
		}
	}
	s.lackCauses(watch.Sees())
	if watch.Sees() != 0 {
		s.Watch = watch
	}
}

// lackCauses notes what cannot wake the sampler for want of BPF. Stalls have
// been spoken of.
func (s *Sources) lackCauses(sees wake.Causes) {
	var blind []string
	for _, c := range []wake.Cause{wake.OOMKill, wake.DirectReclaim, wake.ForkSurge} {
		if !sees.Has(c) {
			blind = append(blind, c.String())
		}
	}
	if len(blind) > 0 {
		s.lack("early wake", "nothing tells of "+strings.Join(blind, ", ")+" between two ticks",
			remedyBPF+"; until then these do not wake the sampler before its interval is over")
	}
}

// onlineCPUs counts the CPUs of the machine, and not only those that this
// process may use.
func onlineCPUs() int {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for line := range strings.Lines(string(stat)) {
		if len(line) > 3 && strings.HasPrefix(line, "cpu") && line[3] != ' ' {
			n++
		}
	}
	return n
}
