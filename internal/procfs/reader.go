// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// initialBuffer holds every file of a machine of ordinary size; the buffer
	// grows once where it does not.
	initialBuffer = 64 << 10
	// maxBuffer bounds one file. /proc/stat of a machine with 1,024 CPUs and
	// 10,000 interrupts is about 200 KiB.
	maxBuffer = 4 << 20
)

// File is a file that is read.
type File struct {
	// Path is where it is.
	Path string
	// Fields are the dimensions that it fills.
	Fields []arc.NodeField
	// Age is how old they are at a reading, at most; 0 as fresh as the reading.
	Age time.Duration
}

// Paths returns the files that a reader knows, relative to its root.
func Paths() []string {
	paths := make([]string, 0, len(sources))
	for i := range sources {
		paths = append(paths, sources[i].path)
	}
	return paths
}

// FieldsOf returns the dimensions that the file at path, relative to the root of
// a reader, can fill at best.
func FieldsOf(path string) []arc.NodeField {
	for i := range sources {
		if sources[i].path == path {
			return sources[i].fields
		}
	}
	return nil
}

// Missing is a file that cannot be read although a dimension was wanted of it.
type Missing struct {
	// Path is the file.
	Path string
	// Cause says why it cannot be read.
	Cause error
	// Remedy says what the user can do about it.
	Remedy string
}

// Reader reads the wanted dimensions of a node. It is not safe for concurrent
// use.
type Reader struct {
	root    string
	sysroot string
	wanted  [arc.NumNodeFields]bool
	open    []openFile
	missing []Missing
	buf     []byte
	devices map[device]bool
	delay   runDelay
	now     func() int64 // ns; tests replace it
}

// source describes one file: the dimensions it can fill, and how.
type source struct {
	path   string
	fields []arc.NodeField
	parse  func(r *Reader, text []byte, into *arc.Node)
	remedy string
	// every is the least time between two readings, in ns; readings in between
	// repeat the values of the last one. 0 where every reading is a fresh one.
	every int64
	// late is how far the kernel itself may be behind in what it writes, in ns.
	late int64
}

type openFile struct {
	source *source
	fd     int
	due    int64     // when to read again
	last   []float64 // what the last reading said of source.fields
	fills  []arc.NodeField
}

const (
	// aSecond is a second, with room for a tick that comes early.
	aSecond = 950_000_000
	// psiPeriod is how often the kernel adds up its stall times (PSI_FREQ).
	psiPeriod = 2_000_000_000
)

var sources = []source{
	{
		path: "stat",
		fields: []arc.NodeField{
			arc.NodeCPUBusy, arc.NodeCPUSystem, arc.NodeCPUSoftIRQ, arc.NodeCPUIRQ,
			arc.NodeContextSwitches, arc.NodeForks, arc.NodeTasksRunnable, arc.NodeTasksBlocked,
		},
		parse:  (*Reader).parseStat,
		remedy: "mount the host's /proc",
	},
	{
		path:   "meminfo",
		fields: []arc.NodeField{arc.NodeMemoryTotal, arc.NodeMemoryUsed, arc.NodeMemoryAvailable},
		parse:  (*Reader).parseMeminfo,
		remedy: "mount the host's /proc",
	},
	{
		path: "vmstat",
		fields: []arc.NodeField{
			arc.NodePageFaults, arc.NodeMajorFaults, arc.NodeDirectReclaims, arc.NodeOOMKills,
			arc.NodeSwapIn, arc.NodeSwapOut, arc.NodeCompactionStalls,
		},
		parse:  (*Reader).parseVmstat,
		remedy: "use a kernel with CONFIG_VM_EVENT_COUNTERS",
	},
	{
		path:   "buddyinfo",
		fields: []arc.NodeField{arc.NodeMemoryFragmentation},
		parse:  (*Reader).parseBuddyinfo,
		remedy: "mount the host's /proc",
		every:  aSecond, // the kernel holds the lock of a zone while it counts
	},
	{
		path:   "pressure/cpu",
		fields: []arc.NodeField{arc.NodePressureCPUSome},
		parse: func(r *Reader, text []byte, into *arc.Node) {
			r.parsePressure(text, into, arc.NodePressureCPUSome, arc.NumNodeFields)
		},
		remedy: cgroupfs.PressureRemedy,
		late:   psiPeriod,
	},
	{
		path:   "pressure/memory",
		fields: []arc.NodeField{arc.NodePressureMemorySome, arc.NodePressureMemoryFull},
		parse: func(r *Reader, text []byte, into *arc.Node) {
			r.parsePressure(text, into, arc.NodePressureMemorySome, arc.NodePressureMemoryFull)
		},
		remedy: cgroupfs.PressureRemedy,
		late:   psiPeriod,
	},
	{
		path:   "pressure/io",
		fields: []arc.NodeField{arc.NodePressureIOSome, arc.NodePressureIOFull},
		parse: func(r *Reader, text []byte, into *arc.Node) {
			r.parsePressure(text, into, arc.NodePressureIOSome, arc.NodePressureIOFull)
		},
		remedy: cgroupfs.PressureRemedy,
		late:   psiPeriod,
	},
	{
		path:   "schedstat",
		fields: []arc.NodeField{arc.NodeRunQueueDelay},
		parse:  (*Reader).parseSchedstat,
		remedy: "use a kernel with CONFIG_SCHEDSTATS",
	},
	{
		path:   "diskstats",
		fields: []arc.NodeField{arc.NodeBlockOperations, arc.NodeBlockTime, arc.NodeBlockBytes},
		parse:  (*Reader).parseDiskstats,
		remedy: "use a kernel with CONFIG_BLOCK",
	},
	{
		path: "net/dev",
		fields: []arc.NodeField{
			arc.NodePacketsReceived, arc.NodePacketsSent, arc.NodeBytesReceived, arc.NodeBytesSent,
			arc.NodeDropsReceived, arc.NodeDropsSent, arc.NodeErrorsReceived, arc.NodeErrorsSent,
		},
		parse:  (*Reader).parseNetDev,
		remedy: "use a kernel with CONFIG_NET and run in the host's network namespace",
	},
	{
		path:   "net/snmp",
		fields: []arc.NodeField{arc.NodeTCPRetransmits, arc.NodeTCPOpens},
		parse:  (*Reader).parseSNMP,
		remedy: "use a kernel with CONFIG_INET and run in the host's network namespace",
	},
}

// Open opens what is needed of root (usually "/proc") to fill the dimensions
// for which wanted holds true. sysroot (usually "/sys") tells whole disks from
// their partitions. Open never fails: what cannot be read is in Missing.
func Open(root, sysroot string, wanted [arc.NumNodeFields]bool) *Reader {
	r := &Reader{
		root:    root,
		sysroot: sysroot,
		wanted:  wanted,
		buf:     make([]byte, initialBuffer),
		devices: map[device]bool{},
		now:     monotonic,
	}
	for i := range sources {
		if s := &sources[i]; r.wantsAnyOf(s.fields) {
			r.openSource(s)
		}
	}
	return r
}

func (r *Reader) wantsAnyOf(fields []arc.NodeField) bool {
	for _, f := range fields {
		if r.wanted[f] {
			return true
		}
	}
	return false
}

// monotonic is an instant in ns that only grows.
func monotonic() int64 { return int64(time.Since(started)) }

var started = time.Now()

// openSource opens a file and reads it once: without PSI, its files can be
// opened but not read, and not every kernel counts everything.
func (r *Reader) openSource(s *source) {
	path := filepath.Join(r.root, s.path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		r.missing = append(r.missing, Missing{path, fmt.Errorf("open %s: %w", path, err), s.remedy})
		return
	}
	f := openFile{source: s, fd: fd, last: make([]float64, len(s.fields))}
	if err := r.try(&f); err != nil {
		_ = unix.Close(fd)
		r.missing = append(r.missing, Missing{path, fmt.Errorf("read %s: %w", path, err), s.remedy})
		return
	}
	r.open = append(r.open, f)
}

// errNothing is said of a file that would be read for nothing at every tick.
var errNothing = errors.New("it holds nothing of what is wanted of it")

// try reads a file that has just been opened.
func (r *Reader) try(f *openFile) error {
	text, err := r.load(f.fd)
	if err != nil {
		return err
	}
	var first arc.Node
	for i := range first {
		first[i] = math.NaN()
	}
	f.source.parse(r, text, &first)
	for field, v := range first {
		if !math.IsNaN(v) {
			f.fills = append(f.fills, arc.NodeField(field))
		}
	}
	if len(f.fills) == 0 {
		return errNothing
	}
	return nil
}

// Missing returns the files that could not be read when the reader was opened.
func (r *Reader) Missing() []Missing { return r.missing }

// Files returns the files that are read, and what each fills as seen when the
// reader was opened.
func (r *Reader) Files() []File {
	files := make([]File, 0, len(r.open))
	for i := range r.open {
		f := &r.open[i]
		age := time.Duration(max(f.source.every, f.source.late)).Round(time.Second)
		files = append(files, File{filepath.Join(r.root, f.source.path), f.fills, age})
	}
	return files
}

// Read fills the wanted dimensions and leaves all others alone. A file that
// fails leaves its dimensions as they are, and the first such failure is
// returned after all files have been tried.
func (r *Reader) Read(into *arc.Node) error {
	var failed error
	now := r.now()
	for i := range r.open {
		f := &r.open[i]
		if now < f.due {
			f.repeat(into, r)
			continue
		}
		text, err := r.load(f.fd)
		if err != nil {
			if failed == nil {
				failed = fmt.Errorf("read %s: %w", filepath.Join(r.root, f.source.path), err)
			}
			continue
		}
		f.source.parse(r, text, into)
		f.keep(into, now)
	}
	return failed
}

// keep notes what a reading said, where it is to be repeated.
func (f *openFile) keep(into *arc.Node, now int64) {
	if f.source.every == 0 {
		return
	}
	f.due = now + f.source.every
	for i, field := range f.source.fields {
		f.last[i] = into[field]
	}
}

// repeat says again what the last reading said.
func (f *openFile) repeat(into *arc.Node, r *Reader) {
	for i, field := range f.source.fields {
		r.set(into, field, f.last[i])
	}
}

// Close closes the files. The reader fills nothing afterwards.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.open {
		if err := unix.Close(f.fd); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", filepath.Join(r.root, f.source.path), err))
		}
	}
	r.open = nil
	return errors.Join(errs...)
}

// load reads a whole file from its beginning. The bytes are valid until the
// next load.
func (r *Reader) load(fd int) ([]byte, error) {
	n := 0
	for {
		if n == len(r.buf) {
			if n >= maxBuffer {
				return nil, unix.EFBIG
			}
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
		m, err := unix.Pread(fd, r.buf[n:], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case m == 0:
			return r.buf[:n], nil
		default:
			n += m
		}
	}
}

// set writes a dimension if it is wanted and known. Comparing with
// NumNodeFields lets a parser name "no dimension".
func (r *Reader) set(into *arc.Node, f arc.NodeField, v float64) {
	if f < arc.NumNodeFields && r.wanted[f] && !math.IsNaN(v) {
		into[f] = v
	}
}
