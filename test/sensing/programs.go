// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The programs that run because the collector asks, in its own time.
const (
	programNode  = "sample_node"
	programSweep = "sweep_cgroup"
)

// emptyProgram is a program that does nothing: what the statistics themselves
// measure.
const emptyProgram = "empty"

// events say what one run of a program is about.
var events = map[string]string{
	emptyProgram:       "nothing, at a fork: the statistics' own part",
	programNode:        "one tick",
	programSweep:       "one cgroup in a sweep of 200, each with a process",
	"count_fork":       "one fork",
	"count_exec":       "one exec",
	"count_exit":       "one exit",
	"count_block":      "one block request",
	"count_retransmit": "one TCP retransmission",
	"count_synack":     "one SYN-ACK sent again",
	"count_connect":    "one change of a TCP socket's state",
	"begin_reclaim":    "the beginning of a direct reclaim; measured at exec, as memory is not short here",
	"end_reclaim":      "its end; measured at exit",
}

// bench is everything whose programs are measured.
type bench struct {
	node    *bpf.Node
	cgroups *bpf.Cgroups
	into    arc.Sweep
	closers []io.Closer
}

func (b *bench) close() {
	for _, c := range slices.Backward(b.closers) {
		_ = c.Close()
	}
}

// openBench loads the receiver's programs, the pair around direct reclaim once
// more where something happens, and one that does nothing. objects is the
// directory of the compiled programs.
func openBench(root, objects string) (*bench, error) {
	b := &bench{}
	err := b.open(root, objects)
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) open(root, objects string) (err error) {
	if b.node, err = bpf.OpenNode(); err != nil {
		return err
	}
	b.closers = append(b.closers, b.node)
	if b.cgroups, err = bpf.OpenCgroups(root, 0); err != nil {
		return err
	}
	b.closers = append(b.closers, b.cgroups)
	if err := b.attachEmpty(); err != nil {
		return err
	}
	return b.attachReclaim(filepath.Join(objects, "events_bpfel.o"))
}

func (b *bench) attachEmpty() error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: emptyProgram, Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_process_fork",
		License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load the empty program: %w", err)
	}
	b.closers = append(b.closers, program)
	return b.attach(program)
}

// attachReclaim lets reclaims begin at exec and end at exit: a task that does
// one does the other, and the programs do not look at what they are called for.
func (b *bench) attachReclaim(object string) error {
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return fmt.Errorf("read the event programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	spec.Maps["counts"].MaxEntries = uint32(cpus)
	at := map[string]string{"begin_reclaim": "sched_process_exec", "end_reclaim": "sched_process_exit"}
	for name := range spec.Programs {
		if to, ok := at[name]; ok {
			spec.Programs[name].AttachTo = to
		} else {
			delete(spec.Programs, name)
		}
	}
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("load the pair around direct reclaim: %w", err)
	}
	defer loaded.Close() // links hold the programs
	for name := range at {
		if err := b.attach(loaded.Programs[name]); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) attach(program *ebpf.Program) error {
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return fmt.Errorf("attach %s: %w", program, err)
	}
	b.closers = append(b.closers, l)
	return nil
}

// measurePrograms runs a bounded load of every kind with the kernel's statistics
// on, batch by batch.
func measurePrograms(ctx context.Context, mount, objects string, batches int) (rows []Program, err error) {
	tree, err := Grow(mount, 200)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Remove()) }()
	if err := tree.Populate(); err != nil {
		return nil, err
	}
	b, err := openBench(tree.Root, objects)
	if err != nil {
		return nil, err
	}
	defer b.close()
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("switch the statistics of programs on: %w", err)
	}
	defer statistics.Close()
	ids, err := programsOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	seen, err := b.batches(ctx, ids, batches)
	if err != nil {
		return nil, err
	}
	return rank(seen), nil
}

// batches returns what every program did in each batch.
func (b *bench) batches(ctx context.Context, ids []ebpf.ProgramID, n int) ([]map[string]count, error) {
	// Retransmissions come by themselves after a second.
	crowd, err := overrun(64)
	if err != nil {
		return nil, err
	}
	defer crowd.close()
	silent, err := keepSilent(16)
	if err != nil {
		return nil, err
	}
	defer silent.close()
	start := time.Now()
	var seen []map[string]count
	for i := range n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		before, err := counts(ids)
		if err != nil {
			return nil, err
		}
		if err := b.load(); err != nil {
			return nil, err
		}
		if i == n-1 {
			time.Sleep(time.Until(start.Add(1500 * time.Millisecond)))
		}
		after, err := counts(ids)
		if err != nil {
			return nil, err
		}
		seen = append(seen, differences(before, after))
	}
	return seen, nil
}

// load makes every event that can be made at will.
func (b *bench) load() error {
	var n arc.Node
	for range 100 {
		if err := b.node.Read(&n); err != nil {
			return err
		}
	}
	for range 20 {
		if err := b.cgroups.Sweep(&b.into); err != nil {
			return err
		}
	}
	if err := processes(60); err != nil {
		return err
	}
	if err := connects(30); err != nil {
		return err
	}
	return writes(30)
}

// rank turns batches into rows, by name; the receiver's own programs come in the
// order of their names.
func rank(seen []map[string]count) []Program {
	sums, means := map[string]count{}, map[string][]float64{}
	for _, batch := range seen {
		for name, c := range batch {
			sum := sums[name]
			sums[name] = count{sum.runs + c.runs, sum.spent + c.spent}
			means[name] = append(means[name], c.ns())
		}
	}
	rows := make([]Program, 0, len(sums))
	for name, sum := range sums {
		rows = append(rows, Program{Name: name, NS: sum.ns(), Runs: sum.runs, Spread: Summarise(means[name]), Event: events[name]})
	}
	slices.SortFunc(rows, func(a, b Program) int { return compareNames(a.Name, b.Name) })
	return rows
}

// processes starts and awaits n short processes, one after another.
func processes(n int) error {
	short, err := lookPath("true")
	if err != nil {
		return err
	}
	for range n {
		pid, err := syscall.ForkExec(short, []string{short}, &syscall.ProcAttr{})
		if err != nil {
			return fmt.Errorf("start %s: %w", short, err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			return err
		}
	}
	return nil
}

// writes makes the disk write n times.
func writes(n int) error {
	f, err := os.CreateTemp("", "reflex-bench-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 16<<10)
	for range n {
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// connects makes n connections, one after another, each ended at once.
func connects(n int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // everybody has been answered
	for range n {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		accepted, err := listener.Accept()
		if err != nil {
			return errors.Join(err, c.Close())
		}
		if err := errors.Join(accepted.Close(), c.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sockets are those of a listener that nobody serves and of its callers.
type sockets []int

func (s sockets) close() {
	for _, fd := range s {
		_ = unix.Close(fd)
	}
}

// overrun lets n callers ask a listener whose queue is full: it drops what they
// send, and the kernel sends it again after a second.
func overrun(n int) (sockets, error) {
	all, err := call(n, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("overrun a listener: %w", err)
	}
	return all, nil
}

// keepSilent lets n callers ask a listener that wants data first, and say
// nothing: after a second the kernel sends its answers again.
func keepSilent(n int) (sockets, error) {
	all, err := call(n, n, func(listener int) error {
		return unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	})
	if err != nil {
		return nil, fmt.Errorf("call a listener that wants data: %w", err)
	}
	return all, nil
}

// call lets n callers ask a listener with a queue of the given length, prepared
// if there is something to prepare.
func call(n, queue int, prepare func(listener int) error) (all sockets, err error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	all = sockets{listener}
	defer func() {
		if err != nil {
			all.close()
		}
	}()
	if prepare != nil {
		if err := prepare(listener); err != nil {
			return nil, err
		}
	}
	bound, err := listen(listener, queue)
	for i := 0; err == nil && i < n; i++ {
		var s int
		if s, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			break
		}
		all = append(all, s)
		if err = unix.Connect(s, bound); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	return all, err
}

// listen binds to a free port of the loopback interface.
func listen(fd, queue int) (unix.Sockaddr, error) {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, queue); err != nil {
		return nil, err
	}
	return unix.Getsockname(fd)
}
