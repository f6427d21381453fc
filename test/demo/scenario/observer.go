// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

const (
	ceilingPeriod = 5 * time.Millisecond
	samplePeriod  = 100 * time.Millisecond
)

// observer watches two services from outside: it learns of a new memory.high by
// reading the file, not from Reflex. Its fields may be read once stop returned.
type observer struct {
	samples  []recording.Sample
	ceilings []recording.Ceiling
	// turns are when the observer came to look.
	turns []int64
	// disturbed says that the neighbour's memory.high was once not "max".
	disturbed bool

	files struct{ high, current, neighbour, neighbourHigh int }
	quit  chan struct{}
	done  chan struct{}
	// latest carries the newest sample and ceiling to the ticker.
	latest chan observation
}

type observation struct {
	recording.Sample
	ceiling uint64
}

// observe starts to watch.
func observe(payment, neighbour *stage.Cgroup) (*observer, error) {
	o := &observer{quit: make(chan struct{}), done: make(chan struct{}), latest: make(chan observation, 1)}
	o.samples = make([]recording.Sample, 0, 4_000)
	o.turns = make([]int64, 0, 80_000)
	for _, f := range []struct {
		into  *int
		group *stage.Cgroup
		name  string
	}{
		{&o.files.high, payment, "memory.high"},
		{&o.files.current, payment, "memory.current"},
		{&o.files.neighbour, neighbour, "memory.current"},
		{&o.files.neighbourHigh, neighbour, "memory.high"},
	} {
		path := filepath.Join(f.group.Dir, f.name)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("observe %s: %w", path, err)
		}
		*f.into = fd
	}
	go o.loop()
	return o, nil
}

func (o *observer) loop() {
	runtime.LockOSThread()
	defer close(o.done)
	buf := make([]byte, 64)
	read := func(fd int) (uint64, bool) {
		n, err := unix.Pread(fd, buf, 0)
		if err != nil {
			return 0, false
		}
		v, err := stage.ParseNumber(buf[:n])
		return v, err == nil
	}
	ticks := time.NewTicker(ceilingPeriod)
	defer ticks.Stop()
	var ceiling uint64
	for turn := 0; ; turn++ {
		select {
		case <-o.quit:
			return
		case <-ticks.C:
		}
		o.turns = append(o.turns, workload.Now())
		if v, ok := read(o.files.high); ok && v != ceiling {
			ceiling = v
			o.ceilings = append(o.ceilings, recording.Ceiling{Time: workload.Now(), Value: v})
		}
		if turn%int(samplePeriod/ceilingPeriod) != 0 {
			continue
		}
		s := recording.Sample{Time: workload.Now()}
		s.Payment, _ = read(o.files.current)
		s.Neighbour, _ = read(o.files.neighbour)
		if v, ok := read(o.files.neighbourHigh); ok && v != recording.Unlimited {
			o.disturbed = true
		}
		o.samples = append(o.samples, s)
		select { // newest wins
		case <-o.latest:
		default:
		}
		o.latest <- observation{s, ceiling}
	}
}

// stop ends the watch.
func (o *observer) stop() {
	close(o.quit)
	<-o.done
	for _, fd := range []int{o.files.high, o.files.current, o.files.neighbour, o.files.neighbourHigh} {
		_ = unix.Close(fd)
	}
}

// lateness is how much later than asked for the observer came to look between
// two instants: the 99th percentile in ms.
func (o *observer) lateness(from, to int64) float64 {
	var late []int64
	for i := 1; i < len(o.turns); i++ {
		if o.turns[i-1] >= from && o.turns[i] < to {
			late = append(late, max(0, o.turns[i]-o.turns[i-1]-int64(ceilingPeriod)))
		}
	}
	if len(late) == 0 {
		return 0
	}
	slices.Sort(late)
	return float64(late[len(late)*99/100]) / 1e6
}
