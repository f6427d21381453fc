// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"encoding/binary"
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
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ownMachine names the environment variable that says that the machine is the
// test's own: it may enable controllers, turn swap on and use memory up.
const ownMachine = "REFLEX_TEST_EXHAUST"

// asLoad names the environment variable that turns the test binary into a load:
// "spin" uses the first CPU; "hold" and "thrash" take loadMemory, the one once and
// the other over and over; "exhaust" takes memory until the kernel kills it.
const asLoad = "REFLEX_TEST_LOAD"

const loadMemory = 64 << 20

func TestMain(m *testing.M) {
	switch load := os.Getenv(asLoad); load {
	case "":
		os.Exit(m.Run())
	case "spin":
		spin()
	case "exhaust":
		exhaust()
	default:
		useMemory(load == "thrash")
	}
}

// exhaust offers itself as the first to be killed.
func exhaust() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	for {
		memory := make([]byte, 16<<20)
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = 1
		}
		held = append(held, memory)
	}
}

var held [][]byte

// loadEnds bounds every load, should nobody end it.
const loadEnds = time.Minute

func spin() {
	runtime.LockOSThread()
	var first unix.CPUSet
	first.Set(0)
	_ = unix.SchedSetaffinity(0, &first)
	fmt.Print("+")
	for end := time.Now().Add(loadEnds); time.Now().Before(end); {
		continue
	}
}

func useMemory(again bool) {
	memory, err := unix.Mmap(-1, 0, loadMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		panic(err)
	}
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	for end, round := time.Now().Add(loadEnds), 0; time.Now().Before(end); round++ {
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = byte(i>>12 + round)
		}
		if round == 0 {
			fmt.Print("+")
		}
		if !again {
			time.Sleep(time.Until(end))
		}
	}
}

// newHierarchy makes a cgroup whose children have every controller; it is removed
// with them when the test ends.
func newHierarchy(t *testing.T, mount string) string {
	t.Helper()
	root := filepath.Join(mount, "reflex-sources-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, os.Mkdir(root, 0o755))
	t.Cleanup(func() {
		children, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
		require.NoError(t, err)
		for _, c := range children {
			assert.NoError(t, unix.Rmdir(filepath.Dir(c)))
		}
		assert.NoError(t, unix.Rmdir(root))
	})
	set(t, filepath.Join(root, "cgroup.subtree_control"), "+memory +cpu +pids +io")
	return root
}

// newChild makes a cgroup with what is set in its files.
func newChild(t *testing.T, root, name string, settings map[string]string) string {
	t.Helper()
	path := filepath.Join(root, name)
	require.NoError(t, os.Mkdir(path, 0o755))
	for file, text := range settings {
		set(t, filepath.Join(path, file), text)
	}
	return path
}

func set(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0))
}

// startLoad starts a load in the cgroup at path and waits until it is one. It ends
// with the test.
func startLoad(t *testing.T, path, load string) {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), asLoad+"="+load, "GOMAXPROCS=1")
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	ready, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		require.NoError(t, c.Process.Kill())
		require.ErrorContains(t, c.Wait(), "killed")
	})
	_, err = io.ReadFull(ready, make([]byte, 1))
	require.NoError(t, err)
}

// swapOn swaps to a block device in memory (null_blk), a slow one, until the test
// ends.
func swapOn(t *testing.T) {
	t.Helper()
	const config, size = "/sys/kernel/config", 128 << 20
	require.NoError(t, unix.Mount("configfs", config, "configfs", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(config, 0)) })
	before := blockDevices(t)
	device := filepath.Join(config, "nullb", "sources")
	require.NoError(t, os.Mkdir(device, 0o755))
	t.Cleanup(func() { assert.NoError(t, unix.Rmdir(device)) })
	for _, s := range [][2]string{
		{"memory_backed", "1"},
		{"size", strconv.Itoa(size >> 20)},
		{"blocksize", "4096"},
		{"irqmode", "2"},
		{"completion_nsec", "1000000"}, // 1 ms a request
		{"power", "1"},
	} {
		set(t, filepath.Join(device, s[0]), s[1])
	}
	node := ""
	require.Eventually(t, func() bool {
		for name := range blockDevices(t) {
			if !before[name] {
				node = filepath.Join("/dev", name)
				_, err := os.Stat(node)
				return err == nil
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond)

	// The header of a swap area, version 1 (include/linux/swap.h).
	header := make([]byte, 4096)
	binary.NativeEndian.PutUint32(header[1024:], 1)
	binary.NativeEndian.PutUint32(header[1028:], size/4096-1)
	copy(header[4086:], "SWAPSPACE2")
	set(t, node, string(header))
	path, err := unix.BytePtrFromString(node)
	require.NoError(t, err)
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0)
	require.Zero(t, errno, "swapon %s", node)
	t.Cleanup(func() {
		_, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0)
		assert.Zero(t, errno, "swapoff")
	})
}

// blockDevices are the names of the disks of this machine.
func blockDevices(t *testing.T) map[string]bool {
	t.Helper()
	all, err := os.ReadDir("/sys/block")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, d := range all {
		names[strings.ReplaceAll(d.Name(), "!", "/")] = true
	}
	return names
}
