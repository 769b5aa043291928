"""Training loops as the reference documents write them: DataLoader, BCELoss on probabilities, an item() per step.

`speed.py` compares with them. Their known mistakes (see `tabcohort reproduce`) cost no time and are kept.
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

FloatMatrix = NDArray[np.float32]


class RowDataset(Dataset):
    """Rows and labels, returned one at a time."""

    def __init__(self, X: FloatMatrix, y: FloatMatrix) -> None:
        self.X = torch.FloatTensor(X)
        self.y = torch.FloatTensor(y).reshape(-1, 1)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.X[row], self.y[row]


def cancer_loop(X: FloatMatrix, y: FloatMatrix, X_test: FloatMatrix, y_test: FloatMatrix, n_epochs: int) -> None:
    """Train logistic regression with batches of 32, Adam at 1e-3, and losses and accuracies in every epoch."""
    model = nn.Sequential(nn.Linear(X.shape[1], 1), nn.Sigmoid())
    nn.init.xavier_uniform_(model[0].weight)
    criterion, optimizer = nn.BCELoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
    train_loader = DataLoader(RowDataset(X, y), batch_size=32, shuffle=True)
    test_loader = DataLoader(RowDataset(X_test, y_test), batch_size=32)
    best_loss, best_weights = float("inf"), {}
    for _ in range(n_epochs):
        model.train()
        losses, correct = [], 0
        for batch_X, batch_y in train_loader:
            predicted = model(batch_X)
            loss = criterion(predicted, batch_y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            correct += ((predicted > 0.5) == batch_y).sum().item()
        model.eval()
        test_losses = []
        with torch.no_grad():
            for batch_X, batch_y in test_loader:
                predicted = model(batch_X)
                test_losses.append(criterion(predicted, batch_y).item())
                correct += ((predicted > 0.5) == batch_y).sum().item()
        if np.mean(test_losses) < best_loss:
            best_loss, best_weights = np.mean(test_losses), model.state_dict().copy()
    assert best_weights


class Block(nn.Module):
    """Linear, batch norm, ReLU and dropout, beside a projected and normalised skip."""

    def __init__(self, d_in: int, d_out: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out), nn.ReLU(), nn.Dropout(dropout))
        self.skip = nn.Sequential(nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.skip(x)


def patent_loop(X: FloatMatrix, y: FloatMatrix, X_val: FloatMatrix, y_val: FloatMatrix, n_epochs: int) -> None:
    """Train the residual network with batches of 256, mixup, dropout, clipping, AdamW and a plateau schedule."""
    d = X.shape[1]
    model = nn.Sequential(
        nn.BatchNorm1d(d), Block(d, 256, 0.3), Block(256, 128, 0.3),
        nn.BatchNorm1d(128), nn.Linear(128, 1), nn.Sigmoid(),
    )  # fmt: skip
    criterion = nn.BCELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    tensors = [torch.FloatTensor(array) for array in (X, y[:, None], X_val, y_val[:, None])]
    train_loader = DataLoader(TensorDataset(*tensors[:2]), batch_size=256, shuffle=True, drop_last=True)
    val_loader = DataLoader(TensorDataset(*tensors[2:]), batch_size=256)
    for _ in range(n_epochs):
        model.train()
        total = 0.0
        for batch_X, batch_y in train_loader:
            if np.random.random() > 0.5:
                weight, index = np.random.beta(0.2, 0.2), torch.randperm(len(batch_X))
                batch_X = weight * batch_X + (1 - weight) * batch_X[index]
                batch_y = weight * batch_y + (1 - weight) * batch_y[index]
            optimizer.zero_grad()
            loss = criterion(model(batch_X), batch_y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            losses = [criterion(model(batch_X), batch_y).item() for batch_X, batch_y in val_loader]
        scheduler.step(np.mean(losses))


def wine_loop(X: FloatMatrix, y: NDArray[np.int64], n_epochs: int) -> None:
    """Train 13-10-10-3 with batches of 32 and Adam; the document has no rows to validate on."""
    model = nn.Sequential(nn.Linear(X.shape[1], 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3))
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=0.001)
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=32, shuffle=True)
    for _ in range(n_epochs):
        model.train()
        total = 0.0
        for batch_X, batch_y in loader:
            optimizer.zero_grad()
            loss = criterion(model(batch_X), batch_y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch_X)


def eager_patent(X: FloatMatrix, y: FloatMatrix, X_val: FloatMatrix, y_val: FloatMatrix, n_epochs: int) -> None:
    """Do what `patent_loop` does as fast as eager PyTorch can: no DataLoader, a fused optimizer, no item() per step."""
    d = X.shape[1]
    model = nn.Sequential(
        nn.BatchNorm1d(d), Block(d, 256, 0.3), Block(256, 128, 0.3), nn.BatchNorm1d(128), nn.Linear(128, 1)
    )
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-5, fused=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    train_X, train_y, val_X, val_y = (torch.from_numpy(array) for array in (X, y[:, None], X_val, y_val[:, None]))
    parameters = list(model.parameters())
    for _ in range(n_epochs):
        model.train()
        losses = []
        for rows in torch.randperm(len(X))[: len(X) // 256 * 256].split(256):
            batch_X, batch_y = train_X.index_select(0, rows), train_y.index_select(0, rows)
            if np.random.random() > 0.5:
                weight, index = np.random.beta(0.2, 0.2), torch.randperm(len(rows))
                batch_X = torch.lerp(batch_X.index_select(0, index), batch_X, weight)
                batch_y = torch.lerp(batch_y.index_select(0, index), batch_y, weight)
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(batch_X), batch_y)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, max_norm=1.0, foreach=True)
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()
        model.eval()
        with torch.inference_mode():
            scheduler.step(criterion(model(val_X), val_y).item())


def eager_mlp(
    X: FloatMatrix,
    y: FloatMatrix,
    X_val: FloatMatrix,
    y_val: FloatMatrix,
    hidden: tuple[int, ...],
    n_epochs: int,
    batch_size: int = 256,
) -> float:
    """Train a multilayer perceptron as fast as eager PyTorch can, and return the seconds that its epochs took.

    It has ReLU and dropout of 0.1, AdamW and a pass over the validation rows after each epoch, as `Config()` has.
    """
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise((X.shape[1], *hidden)):
        layers += [nn.Linear(d_in, d_out), nn.ReLU(inplace=True), nn.Dropout(0.1)]
    model = nn.Sequential(*layers, nn.Linear((X.shape[1], *hidden)[-1], 1))
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=3e-4, fused=True)
    train_X, train_y, val_X, val_y = (torch.from_numpy(array) for array in (X, y[:, None], X_val, y_val[:, None]))
    began = time.perf_counter()
    for _ in range(n_epochs):
        model.train()
        losses = []
        for rows in torch.randperm(len(X)).split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(train_X.index_select(0, rows)), train_y.index_select(0, rows))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()
        model.eval()
        with torch.inference_mode():
            criterion(torch.cat([model(rows) for rows in val_X.split(4096)]), val_y).item()
    return time.perf_counter() - began
