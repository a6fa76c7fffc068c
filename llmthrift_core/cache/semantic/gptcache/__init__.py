"""The semantic cache over an existing GPTCache: its questions, answers and vectors stay where they are."""
