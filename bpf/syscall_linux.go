// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The calls made at every tick are made by hand with arguments prepared once:
// the library's forms allocate.

// programRun is the argument of BPF_PROG_TEST_RUN (union bpf_attr, test).
type programRun struct {
	program, result         uint32
	dataSizeIn, dataSizeOut uint32
	dataIn, dataOut         uint64
	repeat, duration        uint32
	ctxSizeIn, ctxSizeOut   uint32
	ctxIn, ctxOut           uint64
	flags, cpu, batchSize   uint32
	_                       uint32
}

// linkCreate is the argument of BPF_LINK_CREATE for an iterator.
type linkCreate struct {
	program, target   uint32
	attachType, flags uint32
	info              uint64
	infoLen           uint32
	_                 uint32
}

// cgroupIteration is union bpf_iter_link_info, cgroup (6.1).
type cgroupIteration struct {
	order, fd uint32
	id        uint64
}

// iterCreate is the argument of BPF_ITER_CREATE.
type iterCreate struct {
	link, flags uint32
}

// cgroupDescendantsPre is BPF_CGROUP_ITER_DESCENDANTS_PRE: parents first.
const cgroupDescendantsPre = 2

func bpf[T any](command uintptr, attr *T) (int, unix.Errno) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	return int(fd), errno
}

// attachCgroupIterator makes a link that runs program over the cgroup open as
// directory and everything below it, and returns its descriptor. The library
// attaches cgroup iterators without an order, which the kernel refuses.
func attachCgroupIterator(program *ebpf.Program, directory int) (int, error) {
	info := &cgroupIteration{order: cgroupDescendantsPre, fd: uint32(directory)}
	attr := &linkCreate{
		program:    uint32(program.FD()),
		attachType: uint32(ebpf.AttachTraceIter),
		info:       uint64(uintptr(unsafe.Pointer(info))),
		infoLen:    uint32(unsafe.Sizeof(*info)),
	}
	fd, errno := bpf(unix.BPF_LINK_CREATE, attr)
	runtime.KeepAlive(info)
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, fmt.Errorf("attach the cgroup iterator: %w", errno)
	}
	return fd, nil
}

// mapping is the memory of a mappable array, shared with the kernel.
type mapping[T any] struct {
	memory []byte
	values []T
}

// mapArray maps all of m, whose values have the layout of T.
func mapArray[T any](m *ebpf.Map) (mapping[T], error) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if int(m.ValueSize()) != size || size%8 != 0 {
		return mapping[T]{}, fmt.Errorf("map %s: values have %d bytes, expected %d", m, m.ValueSize(), size)
	}
	page := unix.Getpagesize()
	length := (int(m.MaxEntries())*size + page - 1) / page * page
	memory, err := unix.Mmap(m.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return mapping[T]{}, fmt.Errorf("map %s into memory: %w", m, err)
	}
	return mapping[T]{memory, unsafe.Slice((*T)(unsafe.Pointer(&memory[0])), int(m.MaxEntries()))}, nil
}

func (m *mapping[T]) close() error {
	memory := m.memory
	m.memory, m.values = nil, nil
	if memory == nil {
		return nil
	}
	return unix.Munmap(memory)
}
