// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// trafficFields are the columns of traffic in the order of the programs' counts
// (enum traffic in headers/traffic.h).
var trafficFields = [...]arc.CgroupField{
	arc.CgroupBytesReceived,
	arc.CgroupPacketsReceived,
	arc.CgroupBytesSent,
	arc.CgroupPacketsSent,
	arc.CgroupTCPOpens,
}

// opensField is the one of trafficFields that counts connections, and needs no
// program on packets.
const opensField = 4

// trafficCounts are what the sockets of one cgroup did, summed over CPUs.
type trafficCounts [len(trafficFields)]uint64

func (c *trafficCounts) add(other *trafficCounts) {
	for i, n := range other {
		c[i] += n
	}
}

// trafficRoom is how many times more cgroups there is room for than a sweep
// holds: those that are gone keep theirs until a sweep has missed them.
const trafficRoom = 2

// traffic counts what sockets send and receive, by cgroup: programs on every
// packet below a cgroup, and one on every connection begun.
type traffic struct {
	requirements []Requirement
	counts       *ebpf.Map // by cgroup id, per CPU
	uncounted    *ebpf.Map
	excess       mapping[uint64]
	links        []io.Closer
	// packets and opens say which programs run.
	packets, opens bool

	ledger ledger
	// forgiven is the excess when there last was room.
	forgiven uint64
	// What calls by hand need.
	key, next uint64
	value     []trafficCounts
	call      mapElement
}

// mapElement is the argument of BPF_MAP_*_ELEM and BPF_MAP_GET_NEXT_KEY.
type mapElement struct {
	fd, _      uint32
	key, value uint64
}

// openTraffic attaches what it can to root, a cgroup v2 directory, for max
// cgroups; its requirements say what it could not. It fails if that was nothing.
func openTraffic(root string, max int) (*traffic, error) {
	t := &traffic{}
	if err := t.open(root, max); err != nil {
		return t, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *traffic) open(root string, max int) error {
	directory, err := openUnified(root)
	if err != nil {
		return err
	}
	defer directory.Close() // links hold the cgroup

	spec, err := loadTraffic()
	if err != nil {
		return fmt.Errorf("read the traffic programs: %w", err)
	}
	var of unix.Stat_t
	if err := unix.Fstat(int(directory.Fd()), &of); err != nil {
		return fmt.Errorf("cgroup %s: %w", root, err)
	}
	if err := spec.Variables["root"].Set(of.Ino); err != nil {
		return fmt.Errorf("name the cgroup that is swept from: %w", err)
	}
	if err := t.create(spec, max); err != nil {
		t.requirements = append(t.requirements, failed(requirementTraffic, err))
		return err
	}
	packets := t.openPackets(spec, directory)
	t.packets = packets == nil
	t.requirements = append(t.requirements, packetRequirement(packets))
	opens := t.openOpens(spec)
	t.opens = opens == nil
	if opens != nil {
		t.requirements = append(t.requirements, failed(requirementOpens, opens))
	}
	if !t.packets && !t.opens {
		return errors.Join(packets, opens)
	}
	return nil
}

// create makes the maps, which all programs share.
func (t *traffic) create(spec *ebpf.CollectionSpec, max int) (err error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	t.value = make([]trafficCounts, cpus)
	spec.Maps["traffic"].MaxEntries = uint32(max * trafficRoom)
	if t.counts, err = ebpf.NewMap(spec.Maps["traffic"]); err != nil {
		return fmt.Errorf("create the counts of cgroups' traffic: %w", classify(err))
	}
	if t.uncounted, err = ebpf.NewMap(spec.Maps["uncounted"]); err != nil {
		return fmt.Errorf("create the count of what finds no room: %w", classify(err))
	}
	t.excess, err = mapArray[uint64](t.uncounted)
	return err
}

// load loads some programs of spec.
func (t *traffic) load(spec *ebpf.CollectionSpec, kernel *btf.Spec, programs ...string) (*ebpf.Collection, error) {
	some := spec.Copy()
	only(some, programs...)
	loaded, err := ebpf.NewCollectionWithOptions(some, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"traffic": t.counts, "uncounted": t.uncounted},
		Programs:        ebpf.ProgramOptions{KernelTypes: kernel},
	})
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", programs, classify(err))
	}
	return loaded, nil
}

// openPackets attaches both programs on packets or neither. A link runs beside
// the programs of others, and ends with this process however it ends; an
// attachment of the older kind would stay, so that there is no falling back to it.
func (t *traffic) openPackets(spec *ebpf.CollectionSpec, directory *os.File) error {
	loaded, err := t.load(spec, nil, "count_received", "count_sent")
	if err != nil {
		return err
	}
	defer loaded.Close() // links hold the programs
	var links []io.Closer
	for _, name := range []string{"count_received", "count_sent"} {
		l, err := link.AttachRawLink(link.RawLinkOptions{
			Target: int(directory.Fd()), Program: loaded.Programs[name], Attach: spec.Programs[name].AttachType,
		})
		if err != nil {
			err = fmt.Errorf("attach %s to %s: %w", name, directory.Name(), classify(err))
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return err
		}
		links = append(links, l)
	}
	t.links = append(t.links, links...)
	return nil
}

func (t *traffic) openOpens(spec *ebpf.CollectionSpec) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("load the kernel's BTF: %w", classify(err))
	}
	loaded, err := t.load(spec, kernel, "count_open")
	if err != nil {
		return err
	}
	defer loaded.Close() // the link holds the program
	l, err := link.AttachTracing(link.TracingOptions{Program: loaded.Programs["count_open"]})
	if err != nil {
		return fmt.Errorf("attach count_open: %w", classify(err))
	}
	t.links = append(t.links, l)
	return nil
}

// join lets the sweep of spec read what is counted.
func (t *traffic) join(spec *ebpf.CollectionSpec, options *ebpf.CollectionOptions) error {
	spec.Maps["traffic"].MaxEntries = t.counts.MaxEntries()
	options.MapReplacements = map[string]*ebpf.Map{"traffic": t.counts}
	if err := spec.Variables["count_traffic"].Set(true); err != nil {
		return fmt.Errorf("let the sweep read traffic: %w", err)
	}
	return nil
}

// counted says whether one of trafficFields is counted at all.
func (t *traffic) counted(field int) bool {
	if field == opensField {
		return t.opens
	}
	return t.packets
}

// full says whether anything has found no room since there last was some.
func (t *traffic) full() bool { return atomic.LoadUint64(&t.excess.values[0]) > t.forgiven }

// ids appends the ids of all cgroups that have counts.
func (t *traffic) ids(into []uint64) []uint64 {
	t.call = mapElement{fd: uint32(t.counts.FD()), value: uint64(uintptr(unsafe.Pointer(&t.next)))}
	// A map that changes meanwhile may begin again from its start: hence the bound.
	for range t.counts.MaxEntries() {
		if _, errno := bpf(unix.BPF_MAP_GET_NEXT_KEY, &t.call); errno != 0 {
			break
		}
		t.key = t.next
		t.call.key = uint64(uintptr(unsafe.Pointer(&t.key)))
		into = append(into, t.key)
	}
	return into
}

// take removes the counts of a cgroup and returns them, 0 where there are none.
func (t *traffic) take(id uint64) (sum trafficCounts) {
	t.key = id
	t.call = mapElement{
		fd:    uint32(t.counts.FD()),
		key:   uint64(uintptr(unsafe.Pointer(&t.key))),
		value: uint64(uintptr(unsafe.Pointer(&t.value[0]))),
	}
	if _, errno := bpf(unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM, &t.call); errno != 0 {
		return sum // nobody there had a socket that did anything
	}
	for i := range t.value {
		sum.add(&t.value[i])
	}
	return sum
}

func (t *traffic) close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	errs = append(errs, t.excess.close())
	for _, m := range []**ebpf.Map{&t.counts, &t.uncounted} {
		if *m != nil {
			errs = append(errs, (*m).Close())
			*m = nil
		}
	}
	return errors.Join(errs...)
}

const (
	requirementNetAdmin = "CAP_NET_ADMIN"

	remedyNetAdmin  = "if bytes and packets of cgroups are to be counted (cgroup_network), run with CAP_NET_ADMIN besides: in setcap, AmbientCapabilities and CapabilityBoundingSet of the unit, or securityContext.capabilities.add"
	remedyCgroupBPF = "if bytes and packets of cgroups are to be counted (cgroup_network), boot a kernel built with CONFIG_CGROUP_BPF=y"
)

// packetRequirement is what err, of counting packets, leaves unmet.
func packetRequirement(err error) Requirement {
	switch {
	case err == nil:
		return Requirement{Name: requirementTraffic, Present: true}
	case errors.Is(err, os.ErrPermission) && privileged() && !netAdmin():
		return Requirement{requirementNetAdmin, false, cause(err), remedyNetAdmin}
	case errors.Is(err, ErrUnsupported):
		return Requirement{requirementTraffic, false, cause(err), remedyCgroupBPF}
	}
	return failed(requirementTraffic, err)
}

// netAdmin says whether CAP_NET_ADMIN is held. SYS_ADMIN implies it for BPF on
// newer kernels only.
func netAdmin() bool {
	effective, err := effectiveCapabilities()
	return err == nil && effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// ProbeTraffic says whether [OpenCgroupsAndTraffic] could count packets, and
// connections, without doing so. It is not part of [Probe]: who does not count
// them lacks nothing.
func ProbeTraffic() []Requirement {
	t := &traffic{}
	defer func() { _ = t.close() }()
	spec, err := loadTraffic()
	if err == nil {
		err = t.create(spec, 1)
	}
	return []Requirement{t.probePackets(spec, err), t.probeOpens(spec, err)}
}

func (t *traffic) probePackets(spec *ebpf.CollectionSpec, err error) Requirement {
	if err == nil {
		err = t.tryToLoad(spec, nil, "count_received", "count_sent")
	}
	if err == nil && !netAdmin() {
		return Requirement{requirementNetAdmin, false, "not in the effective set of this process", remedyNetAdmin}
	}
	return packetRequirement(err)
}

func (t *traffic) probeOpens(spec *ebpf.CollectionSpec, err error) Requirement {
	if err == nil {
		var kernel *btf.Spec
		if kernel, err = btf.LoadKernelSpec(); err == nil {
			err = t.tryToLoad(spec, kernel, "count_open")
		}
	}
	if err != nil {
		return failed(requirementOpens, err)
	}
	return Requirement{Name: requirementOpens, Present: true}
}

func (t *traffic) tryToLoad(spec *ebpf.CollectionSpec, kernel *btf.Spec, programs ...string) error {
	loaded, err := t.load(spec, kernel, programs...)
	if err != nil {
		return err
	}
	loaded.Close()
	return nil
}
