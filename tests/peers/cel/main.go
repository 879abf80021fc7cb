// Answers rules in CEL over an evaluation input by cel-go, the engine of Kubernetes.
//
// usage: cel INPUT.json < RULES
//
// Each line of standard input is a rule; for each a line is printed: true, false or error.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/google/cel-go/cel"
)

// numbers makes whole numbers of those that are: JSON has one kind, CEL has several.
func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		float, _ := value.Float64()
		return float
	case []any:
		for at := range value {
			value[at] = numbers(value[at])
		}
	case map[string]any:
		for key := range value {
			value[key] = numbers(value[key])
		}
	}
	return value
}

func answer(rule string, input map[string]any) string {
	options := []cel.EnvOption{cel.CrossTypeNumericComparisons(true)}
	for name := range input {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		panic(err)
	}
	ast, issues := env.Compile(rule)
	if issues.Err() != nil {
		fmt.Fprintln(os.Stderr, issues.Err())
		return "error"
	}
	program, err := env.Program(ast)
	if err != nil {
		return "error"
	}
	out, _, err := program.Eval(input)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return "error"
	}
	return fmt.Sprint(out.Value())
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var input map[string]any
	if err := decoder.Decode(&input); err != nil {
		panic(err)
	}
	numbers(input)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(answer(lines.Text(), input))
	}
}
