// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// kernelWeight is the weight of a cgroup that nobody gave one.
	kernelWeight = 100
	// weightMax bounds the weights of every controller; they begin at 1.
	weightMax = 10000

	// cpuFloor is the least CPU time left, in µs a second: 5 % of a CPU answer a
	// health check, and with the usual period of 100 ms a task that is throttled
	// while it holds a kernel lock keeps the others for less than a period.
	cpuFloor = 50_000
	// cpuStep is 1 % of a CPU: systemd, which may be told of a lease, keeps no less.
	cpuStep = 10_000
	// quotaFloor is the kernel's own, in µs a period.
	quotaFloor = 1000
	// quotaMost, in µs a period, is beyond every machine.
	quotaMost = 1 << 40

	microsPerSecond = 1_000_000
)

// weigh returns the weight for a lease that asks for want. It may go both ways
// later: whoever has a weight too low still runs whenever a CPU or disk is free.
func weigh(want uint64) uint64 { return min(max(want, 1), weightMax) }

// cpuWeight is the share of CPU time among siblings. While the cgroup is idle
// the kernel shows the weight 0 and lets nobody write it.
type cpuWeight struct{ setting }

func (cpuWeight) grant(_ target, original, want, _ uint64) (uint64, error) {
	if original == 0 {
		return 0, refusal("cpu.idle is 1, which leaves cpu.weight without effect")
	}
	return weigh(want), nil
}

func (cpuWeight) move(_ target, _, want uint64) (uint64, error) { return weigh(want), nil }

func (cpuWeight) coveredBy() arc.Action { return arc.ActionCPUIdle }

// cpuIdle lets a cgroup run only when nobody else wants to.
type cpuIdle struct{ toggle }

// coupled: going back to 0 the kernel sets the weight it gives everybody.
func (cpuIdle) coupled() string { return "cpu.weight" }

func (cpuIdle) disturbed(current, _ uint64) bool { return current == kernelWeight }

// cpuMax is a cap on CPU time, in µs a second. The period stays its owner's.
type cpuMax struct{ setting }

// bandwidth returns the quota ([arc.Unlimited] for "max") and the period, in µs.
func (k cpuMax) bandwidth(t target) (quota, period uint64, err error) {
	text, err := k.text(t, make([]byte, 0, 64))
	if err != nil {
		return 0, 0, err
	}
	first, second, _ := bytes.Cut(bytes.TrimSpace(text), []byte{' '})
	quota, known := cgroupfs.ParseUint(first)
	period, whole := cgroupfs.ParseUint(second)
	switch {
	case !known, !whole, period == 0, period > microsPerSecond:
		return 0, 0, fmt.Errorf("read cpu.max of cgroup %d: %q is not a quota and a period", t.dir.ID(), text)
	case quota > quotaMost && quota != arc.Unlimited:
		return 0, 0, refusal(fmt.Sprintf("the quota of cpu.max (%d) is larger than any machine", quota))
	}
	return quota, period, nil
}

// bandwidthOf turns a quota into µs a second; quotaFor is its inverse. As no period is
// longer than a second, every quota has a rate of its own.
func bandwidthOf(quota, period uint64) uint64 {
	if quota >= arc.Unlimited {
		return arc.Unlimited
	}
	return quota * microsPerSecond / period
}

func quotaFor(v, period uint64) uint64 {
	hi, lo := bits.Mul64(v, period)
	lo, carry := bits.Add64(lo, microsPerSecond-1, 0)
	quota, _ := bits.Div64(hi+carry, lo, microsPerSecond)
	return quota
}

func (k cpuMax) read(t target) (uint64, error) {
	quota, period, err := k.bandwidth(t)
	if err != nil {
		return 0, err
	}
	return bandwidthOf(quota, period), nil
}

func (k cpuMax) write(t target, v uint64) error {
	_, period, err := k.bandwidth(t)
	if err != nil {
		return err
	}
	quota := v
	if v < arc.Unlimited {
		quota = quotaFor(v, period)
	}
	return t.dir.WriteText(k.name, fmt.Sprintf("%s %d", cgroupfs.AppendUint(nil, quota), period))
}

func (k cpuMax) grant(t target, _, want, _ uint64) (uint64, error) {
	_, period, err := k.bandwidth(t)
	if err != nil {
		return 0, err
	}
	burst, err := t.dir.ReadUint("cpu.max.burst") // the kernel takes no quota below it
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	want = min(max(want, cpuFloor), quotaMost)
	want += (cpuStep - want%cpuStep) % cpuStep
	quota := min(max(quotaFor(want, period), quotaFloor, burst), quotaMost)
	return bandwidthOf(quota, period), nil
}

// move goes both ways: above the floor nothing that runs is stopped by it.
func (k cpuMax) move(t target, _, want uint64) (uint64, error) {
	if want >= arc.Unlimited {
		return arc.Unlimited, nil
	}
	return k.grant(t, 0, want, 0)
}

// coupled: kernels since 5.14 whose cpu_max_write takes µs for ns divide the burst
// by 1000 at every write of cpu.max.
func (cpuMax) coupled() string { return "cpu.max.burst" }

func (cpuMax) disturbed(current, original uint64) bool { return current == original/1000 }
