// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

// The objects are committed, so that building Reflex, or anybody's collector
// with it, needs no clang. They are the same bytes wherever they are generated.

//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type node_sample node node.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type event_counts events events.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type cgroup_row -type sweep_head cgroup cgroup.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type syscall_counts sysenter sysenter.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type traffic_counts traffic traffic.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type shield_state shield shield.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool -modfile=../tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -type verdict_state verdict verdict.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
