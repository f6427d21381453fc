// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// What the load does, all of it known beforehand.
const (
	loadAnon   = 48 << 20 // bytes of anonymous memory, touched page by page
	loadFile   = 16 << 20 // bytes written to a file in memory
	loadChunk  = 64 << 10
	loadWrites = 64 // requests of a chunk each to the disk, past the page cache
	loadReads  = 32
	loadMajor  = 256 // pages of the disk, mapped and touched
	page       = 4096
)

// TestMain lets the test binary be its own load: with REFLEX_TEST_LOAD set to
// a block device it uses memory and that device, and waits for its end.
func TestMain(m *testing.M) {
	if disk := os.Getenv("REFLEX_TEST_LOAD"); disk != "" {
		if err := runLoad(disk); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runLoad(disk string) error {
	memory, err := unix.Mmap(-1, 0, loadAnon, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	for i := 0; i < len(memory); i += page {
		memory[i] = 1
	}
	file, err := os.CreateTemp("", "load")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(memory[:loadFile]); err != nil {
		return err
	}
	if err := useDisk(disk, memory); err != nil {
		return err
	}
	fmt.Println("done")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// useDisk writes, reads and maps the disk; buffer is aligned to pages.
func useDisk(disk string, buffer []byte) error {
	fd, err := unix.Open(disk, unix.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	for i := range loadWrites {
		if _, err := unix.Pwrite(fd, buffer[:loadChunk], int64(i)*loadChunk); err != nil {
			return err
		}
	}
	for i := range loadReads {
		if _, err := unix.Pread(fd, buffer[:loadChunk], int64(i)*loadChunk); err != nil {
			return err
		}
	}
	const apart = 1 << 20 // beyond any reading ahead
	mapped, err := unix.Mmap(fd, 0, loadMajor*apart, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := unix.Madvise(mapped, unix.MADV_RANDOM); err != nil {
		return err
	}
	sum := byte(0)
	for i := range loadMajor {
		sum += mapped[i*apart]
	}
	_ = os.WriteFile(os.DevNull, []byte{sum}, 0)
	return nil
}

// behind is how many updates, pages or faults, each number of memory.stat may lack
// for good: before 5.13 a CPU keeps up to 32 of them to itself (MEMCG_CHARGE_BATCH)
// and nobody gathers them.
func behind(t *testing.T) uint64 {
	t.Helper()
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	if major > 5 || major == 5 && minor >= 13 {
		return 0
	}
	return 32 * uint64(runtime.NumCPU())
}

// TestTheKernelCountsWhatTheLoadDoes compares a look with what is known of a load
// and with what the kernel says of its process. It needs the controllers on
// cgroup v2 and a disk to overwrite, that is, a machine of its own.
func TestTheKernelCountsWhatTheLoadDoes(t *testing.T) {
	disk := os.Getenv("REFLEX_TEST_DISK")
	if disk == "" {
		t.Skip("REFLEX_TEST_DISK is not set: the block device it names is overwritten")
	}
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	path := filepath.Join(mount, "reflex-test-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, os.Mkdir(path, 0o755))
	defer func() { assert.NoError(t, unix.Rmdir(path)) }()
	load := startLoad(t, path, disk)
	defer load.end(t)

	root, err := cgroupfs.OpenRoot(path)
	require.NoError(t, err)
	defer root.Close()
	r := New("/sys", everything())
	var s arc.Sweep
	s.Append(root.ID(), 0)
	value := func(f arc.CgroupField) uint64 { return s.Value(f, 0) }
	lack := behind(t)
	// The stated age: what is not gathered at the look itself is two seconds old.
	require.Eventually(t, func() bool {
		r.Clear(&s)
		r.Read(root.Dir(), &s, 0)
		return value(arc.CgroupMemoryAnon) >= loadAnon-lack*page && value(arc.CgroupMajorFaults) >= loadMajor-lack &&
			value(arc.CgroupPageFaults) >= load.minor(t)*9/10
	}, 4*time.Second, 50*time.Millisecond, "%v", s)
	for _, f := range append(memoryFields[:len(memoryFields):len(memoryFields)], ioFields...) {
		t.Logf("%s: %d", arc.CgroupFields[f].Name, value(f))
	}

	const mebibyte = 1 << 20
	current, err := root.Dir().ReadUint("memory.current")
	require.NoError(t, err)
	rss := load.status(t, "RssAnon") * 1024
	assert.InDelta(t, rss, value(arc.CgroupMemoryAnon), 2*mebibyte, "as /proc says of the only process")
	assert.InDelta(t, loadFile, value(arc.CgroupMemoryFile), 4*mebibyte)
	firm := value(arc.CgroupMemoryUnreclaimable)
	assert.Greater(t, firm+lack*page, value(arc.CgroupMemoryAnon)+loadFile, "the file in memory has no other place")
	assert.LessOrEqual(t, firm, current+2*mebibyte)
	assert.InDelta(t, load.minor(t)+load.major(t), value(arc.CgroupPageFaults), 0.05*loadAnon/page)
	assert.InDelta(t, load.major(t), value(arc.CgroupMajorFaults), 8+float64(lack))
	assert.Equal(t, uint64(loadWrites*loadChunk), value(arc.CgroupWriteBytes))
	assert.Equal(t, uint64(loadWrites), value(arc.CgroupWriteOperations))
	assert.InDelta(t, loadReads*loadChunk+loadMajor*page, value(arc.CgroupReadBytes), 64*page)
	assert.InDelta(t, loadReads+loadMajor, value(arc.CgroupReadOperations), 16)
}

type load struct {
	command *exec.Cmd
	stdin   io.Closer
}

func startLoad(t *testing.T, path, disk string) *load {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_LOAD="+disk, "GOMAXPROCS=1")
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "done\n", said)
	return &load{command, stdin}
}

func (l *load) end(t *testing.T) {
	t.Helper()
	require.NoError(t, l.stdin.Close())
	require.NoError(t, l.command.Wait())
}

func (l *load) proc(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(l.command.Process.Pid), file))
	require.NoError(t, err)
	return string(text)
}

// minor and major are the process's own faults, from proc_pid_stat(5).
func (l *load) minor(t *testing.T) uint64 { t.Helper(); return l.stat(t, 10) }
func (l *load) major(t *testing.T) uint64 { t.Helper(); return l.stat(t, 12) }

func (l *load) stat(t *testing.T, field int) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(l.proc(t, "stat"), ") ") // fields from 3 on
	v, err := strconv.ParseUint(strings.Fields(rest)[field-3], 10, 64)
	require.NoError(t, err)
	return v
}

func (l *load) status(t *testing.T, key string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(l.proc(t, "status"), key+":")
	v, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return v
}
